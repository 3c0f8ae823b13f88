"""From a study to its cells, grouped by checkpoint so that weights are loaded once."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.trajectory import Member, trajectory
from pliant.checkpoints.weights import stored_fingerprint, stored_parameters
from pliant.execution.table import Labels, PlannedCell
from pliant.modifications.finetune import FineTune
from pliant.modifications.noise import Noise
from pliant.records.identity import SCHEMA_VERSION, Json, digest, identity
from pliant.records.units import format_tokens
from pliant.studies.ladder import Ladder, LadderMember
from pliant.studies.materials import Materials, MaterialSpec, markov_language, open_materials
from pliant.studies.spec import CheckpointSpec, SpecError, StudySpec, TrajectorySpec

Modification = Noise | FineTune | None
DEFAULT_CONTEXT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """One evaluation of a cell: its id, what makes it what it is, and the labels of its rows."""

    key: str
    kind: str
    identity: dict[str, Json]
    task: str | None

    @property
    def labels(self) -> Labels:
        labels: Labels = {"evaluation": self.kind}
        return labels | {"task": self.task} if self.task else labels


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """A cell: checkpoint x modification x seed, and the evaluations asked of it."""

    key: str
    identity: dict[str, Json]
    labels: Labels
    modification: Modification
    seed: int
    evaluations: tuple[EvaluationPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """The cells of one checkpoint; `ladder` and `member` where pliant trains it."""

    name: str
    place: Path
    materials: MaterialSpec
    allow_pickle: bool
    cells: tuple[CellPlan, ...]
    parameters: int
    ladder: Ladder | None = None
    member: LadderMember | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study with everything it asks for spelt out."""

    spec: StudySpec
    folder: Path
    groups: tuple[GroupPlan, ...]

    def cells(self) -> list[PlannedCell]:
        return [
            PlannedCell(
                cell=cell.key,
                labels=cell.labels,
                evaluations={e.key: e.labels for e in cell.evaluations},
            )
            for group in self.groups
            for cell in group.cells
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A checkpoint as the plan sees it: identity for the cells, labels for the rows.

    `init_stds` are those that pliant.json of a checkpoint from outside gives: its weights do not fix them.
    """

    name: str
    place: Path
    identity: dict[str, Json]
    labels: Labels
    parameters: int
    init_stds: dict[str, float] | None = None
    ladder: Ladder | None = None
    member: LadderMember | None = None


def plan_study(spec: StudySpec, folder: Path) -> Plan:
    """Plan every cell of `spec`, for the study folder `folder`.

    Raises:
        ValueError: data, checkpoints or settings that do not fit one another.
    """
    return Plan(spec=spec, folder=folder, groups=tuple(g for t in spec.trajectories for g in _groups(spec, t, folder)))


def _groups(spec: StudySpec, trajectory_spec: TrajectorySpec, folder: Path) -> Iterator[GroupPlan]:
    wanted = material_spec(spec, trajectory_spec)
    materials = open_materials(wanted)
    if trajectory_spec.ladder is not None:
        subjects = list(_ladder_subjects(spec, trajectory_spec, wanted, materials, folder))
    else:
        subjects = [_outside_subject(member, materials) for member in _members(trajectory_spec)]
        _check_places(subjects, trajectory_spec.name)
    shared = [_evaluation("pretraining-loss", {"data": materials.held_out_fingerprint}, None)]
    for subject in subjects:
        # two entries of modifications may name the same cell, such as a strength in two sweeps: it is one cell
        cells = tuple({c.key: c for c in _cells(spec, trajectory_spec.name, subject, materials, shared)}.values())
        yield GroupPlan(
            name=f"{trajectory_spec.name}, {subject.name}",
            place=subject.place,
            materials=wanted,
            allow_pickle=trajectory_spec.allow_pickle,
            cells=cells,
            parameters=subject.parameters,
            ladder=subject.ladder,
            member=subject.member,
        )


def _check_places(subjects: Sequence[_Subject], name: str) -> None:
    """A point of a curve is one checkpoint: its tokens, its seed, annealed or not."""
    seen: dict[tuple[Json, ...], str] = {}
    for subject in subjects:
        place = tuple(subject.labels[key] for key in ("tokens", "pretraining_seed", "annealed"))
        if subject.labels["tokens"] is not None and place in seen:
            raise SpecError(
                f"{name}: {seen[place]} and {subject.name} both have {subject.labels['tokens']:,} tokens and seed "
                f"{place[1]}; give them other tokens or seeds, or put them into different trajectories"
            )
        seen[place] = subject.name


def material_spec(spec: StudySpec, trajectory_spec: TrajectorySpec) -> MaterialSpec:
    """What `trajectory_spec` is trained and measured on, defaults resolved."""
    if trajectory_spec.ladder is not None:
        context = spec.held_out.context or trajectory_spec.ladder.architecture.context
        tokenizer = spec.tokenizer or ("markov" if markov_language(spec.corpus) else "bytes")
        if context != trajectory_spec.ladder.architecture.context:
            raise SpecError(
                f"held_out.context is {context}, the ladder {trajectory_spec.name} has "
                f"{trajectory_spec.ladder.architecture.context}; leave held_out.context out"
            )
    else:
        first = _members(trajectory_spec)[0].folder
        longest = _longest_context(first)
        context = spec.held_out.context or min(DEFAULT_CONTEXT, longest)
        if context > longest:
            raise SpecError(f"held_out.context is {context}, {first} takes {longest} tokens; lower it, or leave it out")
        tokenizer = spec.tokenizer or str(first)
    return MaterialSpec(
        corpus=spec.corpus,
        tokenizer=tokenizer,
        context=context,
        held_out_split=spec.held_out.split,
        held_out_tokens=spec.held_out.tokens,
        task_rows=spec.held_out.task_rows,
        tasks=spec.tasks,
    )


def _longest_context(folder: Path) -> int:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return int(config.get("max_position_embeddings") or config.get("n_positions") or DEFAULT_CONTEXT)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); fetch it again") from error


def _ladder_subjects(
    spec: StudySpec, trajectory_spec: TrajectorySpec, wanted: MaterialSpec, materials: Materials, folder: Path
) -> Iterator[_Subject]:
    assert trajectory_spec.ladder is not None
    ladder = Ladder(
        spec=trajectory_spec.ladder,
        vocabulary_size=materials.tokenizer.vocabulary_size,
        tokenizer=materials.tokenizer.fingerprint,
        data=materials.training.source(0).fingerprint,
        numerics=spec.numerics,
        artifacts=folder / "artifacts",
        name="".join(c if c.isalnum() or c in "._" else "-" for c in trajectory_spec.name),
    )
    _check_corpus(ladder, materials, wanted.corpus)
    parameters = trajectory_spec.ladder.architecture.parameters(ladder.vocabulary_size)
    for member in ladder.members():
        source = materials.training.source(member.seed)
        windows = member.step * ladder.spec.recipe.batch_windows
        yield _Subject(
            name=f"{format_tokens(member.tokens)} {'' if member.annealed else 'trunk '}seed {member.seed}",
            place=ladder.place(member),
            identity={
                "kind": "ladder",
                **ladder.recipe,
                "data": source.fingerprint,
                "seed": member.seed,
                "tokens": member.tokens,
                "annealed": member.annealed,
            },
            labels={
                "checkpoint": format_tokens(member.tokens) + ("" if member.annealed else " trunk"),
                "tokens": member.tokens,
                "parameters": parameters,
                "tokens_per_parameter": member.tokens / parameters,
                "pretraining_seed": member.seed,
                "annealed": member.annealed,
                "pretraining_learning_rate": ladder.learning_rate(member),
                "epochs": windows / source.windows_per_epoch if source.windows_per_epoch else 0.0,
                "bytes_per_token": materials.bytes_per_token,
            },
            parameters=parameters,
            ladder=ladder,
            member=member,
        )


def _check_corpus(ladder: Ladder, materials: Materials, corpus: str) -> None:
    per_epoch = materials.training.source(0).windows_per_epoch
    if per_epoch is None:
        return
    available = per_epoch * ladder.spec.architecture.context
    largest = max(member.tokens for member in ladder.members())
    if largest > ladder.spec.max_epochs * available:
        epochs = f"{largest / available:.2f} epochs" if available else "more than all"
        raise SpecError(
            f"{ladder.name}: a budget of {format_tokens(largest)} tokens is {epochs} of "
            f"{corpus} ({available:,} training tokens); lower budgets, give more text, or set max_epochs"
        )


def _members(trajectory_spec: TrajectorySpec) -> list[Member]:
    given = trajectory_spec.checkpoints
    assert given is not None
    if isinstance(given, Path):
        return list(trajectory(given).members)
    return [_by_hand(entry) for entry in given]


def _by_hand(entry: CheckpointSpec) -> Member:
    found = trajectory(entry.path).members
    if len(found) != 1:
        raise CheckpointError(
            f"{entry.path} holds {len(found)} checkpoints; give each by its own path, or the folder alone"
        )
    by_hand = {
        name: getattr(entry, name) for name in ("tokens", "seed", "annealed") if getattr(entry, name) is not None
    }
    known = {name: getattr(found[0].about, name) for name in About.__dataclass_fields__}
    return Member(name=entry.path.name, folder=found[0].folder, about=About(**{**known, **by_hand}))


def _outside_subject(member: Member, materials: Materials) -> _Subject:
    about = member.about
    parameters = stored_parameters(member.folder)
    weights = stored_fingerprint(member.folder)
    return _Subject(
        name=member.name,
        place=member.folder,
        identity={"kind": "weights", "weights": weights, "tokenizer": materials.tokenizer.fingerprint},
        labels={
            "checkpoint": member.name,
            "tokens": about.tokens,
            "parameters": parameters,
            "tokens_per_parameter": about.tokens / parameters if about.tokens and parameters else None,
            "pretraining_seed": about.seed,
            "annealed": about.annealed,
            "pretraining_learning_rate": about.learning_rate,
            "epochs": about.epochs,
            "bytes_per_token": materials.bytes_per_token,
        },
        parameters=parameters,
        init_stds=about.init_stds,
    )


def _cells(
    spec: StudySpec, name: str, subject: _Subject, materials: Materials, shared: list[EvaluationPlan]
) -> Iterator[CellPlan]:
    on_tasks = {
        task: _evaluation("task-loss", {"data": materials.tasks[task].fingerprint}, task) for task in spec.tasks
    }
    base = (*shared, _evaluation("weights", {}, None), *on_tasks.values())
    yield _cell(spec, name, subject, materials, None, 0, base)
    moved = _evaluation("displacement", {}, None)
    for entry in spec.modifications:
        if entry.noise is not None:
            for noise in entry.noise.modifications():
                for block in range(entry.noise.blocks):
                    yield _cell(spec, name, subject, materials, noise, block, tuple(shared))
        if entry.fine_tune is not None:
            for tuning in entry.fine_tune.modifications():
                for seed in entry.fine_tune.seeds:
                    wanted = (*shared, on_tasks[tuning.task], moved)
                    yield _cell(spec, name, subject, materials, tuning, seed, wanted)


def _evaluation(kind: str, settings: dict[str, Json], task: str | None) -> EvaluationPlan:
    what: dict[str, Json] = {"kind": kind, **settings}
    return EvaluationPlan(key=digest(what, 12), kind=kind, identity=what, task=task)


def _cell(
    spec: StudySpec,
    name: str,
    subject: _Subject,
    materials: Materials,
    modification: Modification,
    seed: int,
    evaluations: tuple[EvaluationPlan, ...],
) -> CellPlan:
    what: dict[str, Json] = {
        "schema": SCHEMA_VERSION,
        "checkpoint": subject.identity,
        "modification": _modification_identity(modification, subject, materials),
        "seed": seed,
        "numerics": identity(spec.numerics),
    }
    labels = {"trajectory": name, **subject.labels, **_modification_labels(modification), "seed": seed}
    return CellPlan(
        key=digest(what),
        identity=what,
        labels=labels,
        modification=modification,
        seed=seed,
        evaluations=evaluations,
    )


def _modification_identity(modification: Modification, subject: _Subject, materials: Materials) -> dict[str, Json]:
    if modification is None:
        return {"type": "none"}
    what = {"type": type(modification).__name__, **identity(modification)}
    if isinstance(modification, FineTune):
        return {**what, "data": materials.tasks[modification.task].fingerprint}
    by_hand = dict(subject.init_stds) if modification.scaling == "init" and subject.init_stds else None
    return {**what, "init_stds": digest(by_hand) if by_hand else None}  # type: ignore[arg-type]


def _modification_labels(modification: Modification) -> Labels:
    is_noise, is_tuning = isinstance(modification, Noise), isinstance(modification, FineTune)
    return {
        "modification": "noise" if is_noise else "fine-tune" if is_tuning else "none",
        "label": modification.label if modification is not None else "none",
        "scaling": modification.scaling if isinstance(modification, Noise) else None,
        "embeddings": modification.embeddings if isinstance(modification, Noise) else None,
        "task": modification.task if isinstance(modification, FineTune) else None,
        "steps": modification.steps if isinstance(modification, FineTune) else None,
        "strength": modification.strength if modification is not None else 0.0,
    }
