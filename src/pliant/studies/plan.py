"""From a study to its cells, grouped by checkpoint so that weights are loaded once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import CheckpointError
from pliant.execution.table import PlannedCell
from pliant.studies.asked import asked_of, with_asked
from pliant.studies.cells import CellPlan, cells_of, evaluation
from pliant.studies.ladder import Ladder, LadderMember
from pliant.studies.materials import MaterialSpec, markov_language, open_materials
from pliant.studies.spec import SpecError, StudySpec, TrajectorySpec
from pliant.studies.subjects import check_places, ladder_subjects, members_of, outside_subject

DEFAULT_CONTEXT = 512


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
        subjects = list(ladder_subjects(spec, trajectory_spec, wanted, materials, folder))
    else:
        subjects = [outside_subject(member, materials) for member in members_of(trajectory_spec)]
        check_places(subjects, trajectory_spec.name)
    shared = [evaluation("pretraining-loss", {"data": materials.held_out_fingerprint}, None)]
    asked = asked_of(spec, materials)
    for subject in subjects:
        # two entries of modifications may name the same cell, such as a strength in two sweeps: it is one cell
        planned = cells_of(spec, trajectory_spec.name, subject, materials, shared)
        cells = tuple({cell.key: with_asked(cell, asked) for cell in planned}.values())
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
        first = members_of(trajectory_spec)[0].folder
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
