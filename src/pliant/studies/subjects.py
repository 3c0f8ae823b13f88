"""Checkpoints as a plan sees them: what makes them what they are, and what is known of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.sources import Repository, read_source
from pliant.checkpoints.trajectory import Member, trajectory
from pliant.checkpoints.weights import stored_fingerprint, stored_parameters
from pliant.data.corpora import CorpusName
from pliant.execution.table import Labels
from pliant.modifications.merge import Part, Parts
from pliant.records.identity import Json
from pliant.records.units import format_tokens
from pliant.studies.ladder import Ladder
from pliant.studies.materials import Materials, MaterialSpec
from pliant.studies.spec import CheckpointSpec, SpecError, StudySpec, TrajectorySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A checkpoint as the plan sees it: identity for the cells, labels for the rows.

    `parts` is where its weights come from: its own folder, or those that are merged. `ladder` makes them, where pliant
    trains it. `init_stds` are those that pliant.json of a checkpoint from outside gives: its weights do not fix them.
    """

    name: str
    parts: Parts
    identity: dict[str, Json]
    labels: Labels
    parameters: int
    init_stds: dict[str, float] | None = None
    ladder: Ladder | None = None

    @property
    def line(self) -> tuple[Json, ...]:
        """What neighbours on one curve share: the pre-training seed, and annealed or not."""
        return self.labels["pretraining_seed"], self.labels["annealed"]


def plain(folder: Path) -> Parts:
    """The weights of one folder as they are."""
    return (Part(folder=folder, weight=1.0),)


def check_places(subjects: Sequence[Subject], name: str) -> None:
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


def ladder_subjects(
    spec: StudySpec, trajectory_spec: TrajectorySpec, wanted: MaterialSpec, materials: Materials, folder: Path
) -> Iterator[Subject]:
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
        yield Subject(
            name=f"{format_tokens(member.tokens)} {'' if member.annealed else 'trunk '}seed {member.seed}",
            parts=plain(ladder.place(member)),
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
        )


def _check_corpus(ladder: Ladder, materials: Materials, corpus: CorpusName) -> None:
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


def members_of(trajectory_spec: TrajectorySpec) -> list[Member]:
    given = trajectory_spec.checkpoints
    assert given is not None
    if isinstance(given, str):
        return list(trajectory(_folder(given)).members)
    return [_by_hand(entry) for entry in given]


def _folder(text: str) -> Path:
    source = read_source(text)
    if isinstance(source, Repository):
        raise CheckpointError(f"{source}: no folder of this name")
    return source.path


def _by_hand(entry: CheckpointSpec) -> Member:
    found = trajectory(_folder(entry.path)).members
    if len(found) != 1:
        raise CheckpointError(
            f"{entry.path} holds {len(found)} checkpoints; give each by its own path, or the folder alone"
        )
    by_hand = {
        name: getattr(entry, name) for name in ("tokens", "seed", "annealed") if getattr(entry, name) is not None
    }
    known = {name: getattr(found[0].about, name) for name in About.__dataclass_fields__}
    return Member(name=Path(entry.path).name, folder=found[0].folder, about=About(**{**known, **by_hand}))


def outside_subject(member: Member, materials: Materials) -> Subject:
    about = member.about
    parameters = stored_parameters(member.folder)
    weights = stored_fingerprint(member.folder)
    return Subject(
        name=member.name,
        parts=plain(member.folder),
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
