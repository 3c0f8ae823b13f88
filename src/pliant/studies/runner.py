"""From a study to its records: plan, run what is missing, write the tables."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pliant.execution.engine import Engine, Observer, Task, TaskFailure, UserError
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.store import Store, naming_a_full_disk, write_atomically
from pliant.execution.table import Table, read_table, write_parquet, write_plan
from pliant.modifications.finetune import FineTune
from pliant.modifications.merge import parts_weights
from pliant.modifications.noise import Noise
from pliant.modifications.wanda import PASSES, Wanda
from pliant.records.identity import digest
from pliant.studies.cells import CellPlan
from pliant.studies.cost import Cost, machine_factor
from pliant.studies.group import GroupJob, missing, recorded_weights, release_model
from pliant.studies.growth import keep_added
from pliant.studies.materials import settled_corpus
from pliant.studies.numerics import choose_numerics
from pliant.studies.plan import GroupPlan, Plan, plan_study
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, to_yaml
from pliant.studies.work import SegmentJob, perform

STUDY_FILE = "study.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The tasks of one run of some studies, and how many of their cells are still to be measured."""

    plans: tuple[Plan, ...]
    tasks: tuple[Task, ...]
    cells_missing: int
    cells: int
    lanes: int = 1

    @property
    def seconds(self) -> float:
        """Estimated seconds of one core."""
        return sum(task.cost_seconds for task in self.tasks)


def prepare(spec: StudySpec, folder: Path) -> StudySpec:
    """Make `folder` the folder of `spec`, or check that it is; return the study with the folder's numerics plan.

    A study may grow: what was measured stays, and only what is new is run.

    Raises:
        SpecError: the folder holds another study, or something that is no study.
    """
    settled = settle(spec, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / STUDY_FILE, to_yaml(settled))
    return settled


def settle(spec: StudySpec, folder: Path) -> StudySpec:
    """`spec` with the numerics plan, the added rates and the commit of a Hub corpus that `folder` has, or new ones;
    nothing is written."""
    file = folder / STUDY_FILE
    if file.is_file():
        before = parse_study(file.read_text(encoding="utf-8"), str(file))
        if before.study != spec.study:
            raise SpecError(
                f"{folder} belongs to the study {before.study!r}, not {spec.study!r}; give another --out folder"
            )
        if "numerics" in spec.model_fields_set and spec.numerics != before.numerics:
            raise SpecError(
                f"{folder} was created with another numerics plan, which is part of what its records are; "
                "take numerics out of the study, or give another --out folder"
            )
        corpus = settled_corpus(spec.corpus, before.corpus)
        return keep_added(spec, before).model_copy(update={"numerics": before.numerics, "corpus": corpus})
    if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise SpecError(f"{folder} is not empty and holds no {STUDY_FILE}; give a new folder, or a study's own")
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file; give a folder")
    corpus = settled_corpus(spec.corpus, None)
    return spec.model_copy(update={"numerics": choose_numerics(spec), "corpus": corpus})


def schedule(plans: Sequence[Plan]) -> Schedule:
    """The tasks for what has no record yet: segments of training, and a group for each checkpoint."""
    factor = machine_factor()
    tasks: list[Task] = []
    cells_missing = 0
    for plan in plans:
        store = Store(plan.folder)
        todo = [(group, [c for c in group.cells if missing(store, c)]) for group in plan.groups]
        todo = [(group, cells) for group, cells in todo if cells]
        segments = _segment_tasks(todo, plan, factor)
        keys = {task.key for task in segments}
        tasks += segments + [_group_task(group, cells, plan, keys, factor) for group, cells in todo]
        cells_missing += sum(len(cells) for _, cells in todo)
    cells = sum(len(group.cells) for plan in plans for group in plan.groups)
    return Schedule(plans=tuple(plans), tasks=tuple(tasks), cells_missing=cells_missing, cells=cells)


def _segment_tasks(todo: Sequence[tuple[GroupPlan, list[CellPlan]]], plan: Plan, factor: float) -> list[Task]:
    """The training that makes the weights which the missing cells of `todo` read: their own, merged, or partners'."""
    tasks: dict[str, Task] = {}
    read = {place for group, cells in todo for place in group.places(cells)}
    ladders = {id(g.ladder): g.ladder for g, _ in todo if g.ladder is not None}
    for ladder in ladders.values():
        mine = [g for g, _ in todo if g.ladder is ladder]
        for planned in ladder.segments(member for member in ladder.members() if ladder.place(member) in read):
            key = str(planned.out)
            updates = planned.segment.stop - planned.segment.start
            cost = Cost(updates=updates, update_tokens=ladder.tokens_per_step)
            begin = str(planned.begin_from)
            tasks[key] = Task(
                key=key,
                label=f"pre-train {ladder.name}, seed {planned.seed}, {planned.out.name}",
                payload=SegmentJob(
                    planned=planned,
                    ladder=ladder,
                    materials=mine[0].materials,
                    scratch=plan.folder / "artifacts" / "snapshots" / digest(str(planned.out.relative_to(plan.folder))),
                    snapshot_seconds=plan.spec.snapshot_seconds,
                ),
                cost_seconds=cost.seconds(ladder.spec.architecture.width, mine[0].parameters) * factor,
                needs=(begin,) if begin in tasks else (),
            )
    return list(tasks.values())


def _group_task(group: GroupPlan, cells: list[CellPlan], plan: Plan, segments: set[str], factor: float) -> Task:
    width = group.ladder.spec.architecture.width if group.ladder else max(8, round((group.parameters / 24) ** 0.5))
    return Task(
        key=f"group {plan.folder} {group.name} {group.place}",
        label=f"measure {group.name}",
        payload=GroupJob(group=group, folder=plan.folder, numerics=plan.spec.numerics),
        cost_seconds=sum(
            cost.seconds(width, group.parameters) for cell in cells for cost in (_cost(cell, group), _asked_cost(cell))
        )
        * factor,
        needs=tuple(sorted(str(place) for place in group.places(cells) if str(place) in segments)),
    )


def _cost(cell: CellPlan, group: GroupPlan) -> Cost:
    held_out = group.materials.held_out_tokens
    on_task = 2 * group.materials.task_rows * group.materials.context
    if isinstance(cell.modification, Noise):
        return Cost(evaluated_tokens=held_out * cell.modification.draws * (1 + cell.modification.antithetic))
    if isinstance(cell.modification, FineTune):
        return Cost(
            updates=cell.modification.steps if cell.modification.strength else 0,
            update_tokens=cell.modification.batch * group.materials.context,
            evaluated_tokens=held_out + on_task,
        )
    if isinstance(cell.modification, Wanda):
        return Cost(evaluated_tokens=held_out + PASSES * cell.modification.calibration_tokens)
    if cell.modification is not None:
        return Cost(evaluated_tokens=held_out)
    return Cost(evaluated_tokens=held_out + on_task * len(group.materials.tasks))


def _asked_cost(cell: CellPlan) -> Cost:
    """What the evaluations that the study asks for take beyond the losses."""
    noise = cell.modification if isinstance(cell.modification, Noise) else None
    copies = noise.draws * (1 + noise.antithetic) if noise is not None else 1
    return Cost(evaluated_tokens=copies * sum(evaluation.tokens for evaluation in cell.evaluations))


def run_studies(
    studies: Sequence[tuple[StudySpec, Path]],
    *,
    engine: Engine | None = None,
    workers: int | None = None,
    observe: Callable[[Schedule], Observer],
) -> tuple[list[Table], list[TaskFailure]]:
    """Run what is missing of each study in its folder; return the tables and the tasks that failed.

    Raises:
        ValueError: bad input, found before anything runs.
    """
    plans = [plan_study(settle(spec, folder), folder) for spec, folder in studies]
    for plan in plans:
        with naming_a_full_disk(plan.folder):
            prepare(plan.spec, plan.folder)
            Store(plan.folder).sweep_leftovers()
            write_plan(plan.folder, plan.spec.study, plan.cells())
    chosen = engine or default_engine(plans[0].spec, workers)
    todo = replace(schedule(plans), lanes=getattr(chosen, "workers", 1))
    observer = observe(todo)
    try:
        failures = chosen.run(todo.tasks, perform, observer) if todo.tasks else []
    finally:
        release_model()  # where the engine worked in this process
    tables = [read_table(plan.folder) for plan in plans]
    for table in tables:
        with naming_a_full_disk(table.folder):
            write_parquet(table, table.folder / "results.parquet")
    return tables, failures


def default_engine(spec: StudySpec, workers: int | None = None) -> Engine:
    """Worker processes for this machine's cores, `numerics.threads` each; one process where there is an accelerator."""
    if spec.numerics.device != "cpu":
        return SerialEngine()
    count = workers if workers is not None else max(1, (os.cpu_count() or 1) // spec.numerics.threads)
    return LocalEngine(workers=count, threads=spec.numerics.threads) if count > 0 else SerialEngine()


def set_aside_changed(plan: Plan) -> dict[str, Path]:
    """Move away the records that were measured on other weights than a ladder now has; return where to, by checkpoint.

    Raises:
        UserError: nothing has changed.
    """
    store = Store(plan.folder)
    moved: dict[str, Path] = {}
    for group in plan.groups:
        if group.ladder is None or not all(part.folder.is_dir() for part in group.parts):
            continue
        old = recorded_weights(store, group.cells) - {parts_weights(group.parts)}
        for weights in old:
            cells = [cell.key for cell in group.cells if weights in recorded_weights(store, (cell,))]
            moved[group.name] = store.supersede(weights, cells)
    if not moved:
        raise UserError(
            f"{plan.folder}: every record was measured on the weights that are there; nothing to re-measure"
        )
    return moved
