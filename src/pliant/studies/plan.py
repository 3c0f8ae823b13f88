"""From a study to its cells, grouped by checkpoint so that weights are loaded once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.config import read_config
from pliant.checkpoints.hub.pins import Pinned
from pliant.checkpoints.hub.revision import HubRevision
from pliant.execution.labels import Labels
from pliant.execution.table import PlannedCell
from pliant.modifications.adapters import require_peft
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.merge import Parts
from pliant.records.outside import clipped
from pliant.studies.asked import asked_of, with_asked
from pliant.studies.cells import CellPlan, cells_of, check_names, evaluation
from pliant.studies.changes import Changes
from pliant.studies.ladder import Ladder
from pliant.studies.materials import MaterialSpec, markov_language, open_materials
from pliant.studies.members import Gathered, Members, described
from pliant.studies.neighbours import check_partners, merged_subjects, partners_of
from pliant.studies.numerics import DEFAULT_CONTEXT
from pliant.studies.refusal import refuse_suspects
from pliant.studies.sharded_plan import check_shards
from pliant.studies.spec import SpecError, StudySpec, TrajectorySpec
from pliant.studies.subjects import Subject, check_places, ladder_subjects, outside_subject
from pliant.studies.validated import Validation


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """The cells of one checkpoint; `parts` is where its weights come from, `partners` where those of others that its
    cells name; `ladder` makes them where pliant trains it. `about` is what is known of it besides its own files,
    `first` the checkpoint whose tokenizer it is measured with, where the study names none."""

    name: str
    parts: Parts
    partners: Mapping[str, Parts]
    materials: MaterialSpec
    allow_pickle: bool
    trust_remote_code: bool
    cells: tuple[CellPlan, ...]
    parameters: int
    about: About | None = None
    ladder: Ladder | None = None
    first: Path | None = None

    @property
    def place(self) -> Path:
        """The folder that is opened; of a merge the newest part."""
        return self.parts[-1].folder

    def places(self, cells: Iterable[CellPlan]) -> set[Path]:
        """Every folder that is read when `cells` are measured."""
        named = {cell.modification.partner for cell in cells if isinstance(cell.modification, Interpolate)}
        return {part.folder for parts in (self.parts, *map(self.partners.__getitem__, named)) for part in parts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study with everything it asks for spelt out.

    `validation` is why the study's losses are measured in the precision they are, where that was decided for it.
    `revisions` are the Hub revisions by the folder that they are fetched into, `pinned` the listings they come from,
    and `notes` what was left out of them; `data_notes` what was cut and left out of the tasks.
    """

    spec: StudySpec
    folder: Path
    groups: tuple[GroupPlan, ...]
    revisions: Mapping[Path, HubRevision] = field(default_factory=dict)
    pinned: Mapping[str, Pinned] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    validation: Validation | None = None

    def cells(self) -> list[PlannedCell]:
        """Every cell as reports see it; cells of the same evaluations hold one mapping of them."""
        labels: dict[tuple[tuple[str, str, str | None], ...], Mapping[str, Labels]] = {}

        def evaluations(cell: CellPlan) -> Mapping[str, Labels]:
            asked = tuple((e.key, e.kind, e.task) for e in cell.evaluations)
            if asked not in labels:
                labels[asked] = {e.key: e.labels for e in cell.evaluations}
            return labels[asked]

        return [
            PlannedCell(cell=cell.key, labels=cell.labels, evaluations=evaluations(cell))
            for group in self.groups
            for cell in group.cells
        ]


def plan_study(spec: StudySpec, folder: Path, gathered: Gathered) -> Plan:
    """Plan every cell of `spec`, for the study folder `folder`.

    Raises:
        ValueError: data, checkpoints or settings that do not fit one another, or a package that they need is missing.
    """
    check_shards(spec)
    if any(entry.fine_tune is not None and entry.fine_tune.adapter is not None for entry in spec.modifications):
        require_peft()
    whole = {t.name: t for t in spec.trajectories if t.merge is None}
    wanted = {name: material_spec(spec, t, gathered.get(name)) for name, t in whole.items()}
    subjects = {name: _subjects(spec, t, folder, wanted[name], gathered.get(name)) for name, t in whole.items()}
    check_partners(spec, (subject for mine in subjects.values() for subject in mine))
    groups: list[GroupPlan] = []
    for t in spec.trajectories:
        source = whole[t.merge.of] if t.merge is not None else t
        mine = subjects[source.name]
        taken = list(merged_subjects(t.merge, mine)) if t.merge is not None else mine
        groups += _groups(spec, t.name, source, wanted[source.name], taken)
    outside = [member for members in gathered.values() for member in members.members]
    tasks = (task for some in wanted.values() for task in open_materials(some).tasks.values())
    data_notes = tuple(dict.fromkeys(note for task in tasks for note in task.notes))
    return Plan(
        spec=spec,
        folder=folder,
        groups=tuple(groups),
        revisions={member.folder: member.revision for member in outside if member.revision is not None},
        pinned={source: pin for members in gathered.values() for source, pin in members.pinned.items()},
        notes=(*(note for members in gathered.values() for note in members.notes), *data_notes),
        data_notes=data_notes,
    )


def _subjects(
    spec: StudySpec, trajectory_spec: TrajectorySpec, folder: Path, wanted: MaterialSpec, members: Members | None
) -> list[Subject]:
    materials = open_materials(wanted)
    if members is None:
        return list(ladder_subjects(spec, trajectory_spec, wanted, materials, folder))
    allowed = spec.allow_suspect
    if not allowed:
        refuse_suspects(trajectory_spec.name, members.members)
    subjects = [outside_subject(m, members, materials, allow_suspect=allowed) for m in members.members]
    check_places(subjects, trajectory_spec.name)
    return subjects


def _groups(
    spec: StudySpec, name: str, source: TrajectorySpec, wanted: MaterialSpec, subjects: Sequence[Subject]
) -> Iterator[GroupPlan]:
    """The groups of the trajectory `name`, whose weights and materials come from `source` (itself, unless merged)."""
    materials = open_materials(wanted)
    shared = [evaluation("pretraining-loss", {"data": materials.held_out_fingerprint}, None)]
    asked, changes = asked_of(spec, materials), Changes(materials=materials)
    for subject in subjects:
        # two entries of modifications may name the same cell, such as a strength in two sweeps: it is one cell
        partners = partners_of(subject, subjects, spec)
        planned = list(cells_of(spec, name, subject, partners, changes, shared))
        check_names(planned)
        cells = tuple({cell.key: with_asked(cell, asked) for cell in planned}.values())
        yield GroupPlan(
            name=f"{name}, {subject.name}",
            parts=subject.parts,
            partners={called: partner.parts for called, partner in partners.items()},
            materials=wanted,
            allow_pickle=source.allow_pickle,
            trust_remote_code=source.trust_remote_code,
            cells=cells,
            parameters=subject.parameters,
            about=subject.about,
            ladder=subject.ladder,
            first=Path(wanted.tokenizer) if source.ladder is None and spec.tokenizer is None else None,
        )


def material_spec(spec: StudySpec, trajectory_spec: TrajectorySpec, members: Members | None) -> MaterialSpec:
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
        assert members is not None, "a trajectory has a ladder or members"
        first = described(members.members[0])
        longest = longest_context(first)
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
        held_out_bytes=spec.held_out.bytes if spec.held_out.by == "documents" else None,
        outside=trajectory_spec.ladder is None,
    )


def longest_context(folder: Path) -> int:
    """How many tokens the checkpoint in `folder` takes at once, by its config.json.

    Raises:
        CheckpointError: config.json cannot be read.
    """
    config = read_config(folder)
    length = config.get("max_position_embeddings") or config.get("n_positions") or DEFAULT_CONTEXT
    if not isinstance(length, int):
        raise CheckpointError(
            f"{folder / 'config.json'} cannot be read (a context of {clipped(length)}); fetch it again"
        )
    return length
