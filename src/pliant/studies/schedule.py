"""The tasks that make what a study lacks: fetch, train, measure, release."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pliant.execution.engine import Task
from pliant.execution.mirrors import mirror_of
from pliant.execution.store import Store
from pliant.modifications.finetune import FineTune
from pliant.modifications.noise import Noise
from pliant.modifications.regularise.method import Divergence, ElasticWeights, ProbeFirst, Regulariser, Replay
from pliant.modifications.wanda import PASSES, Wanda
from pliant.records.identity import digest
from pliant.records.numerics import Numerics
from pliant.studies.cells import CellPlan
from pliant.studies.cost import Cost, machine_factor
from pliant.studies.downloads import download_tasks
from pliant.studies.group import GroupJob, unfinished
from pliant.studies.plan import GroupPlan, Plan
from pliant.studies.work import SegmentJob


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
        return sum(task.cost_seconds for task in self.tasks if task.lane == "work")

    @property
    def download_bytes(self) -> int:
        """What is fetched, each checkpoint once."""
        return sum(task.holds for task in self.tasks)


def schedule(plans: Sequence[Plan]) -> Schedule:
    """The tasks for what has no record yet: segments of training, downloads, and a group for each checkpoint."""
    factor = machine_factor()
    tasks: list[Task] = []
    cells_missing = 0
    for plan in plans:
        there = Store(plan.folder).listing()
        todo = [(group, unfinished(group.cells, there)) for group in plan.groups]
        todo = [(group, cells) for group, cells in todo if cells]
        segments = _segment_tasks(todo, plan, factor)
        made = {task.key for task in segments} | {str(place) for place in plan.revisions}
        tasks += segments + [_group_task(group, cells, plan, made, factor) for group, cells in todo]
        cells_missing += sum(len(cells) for _, cells in todo)
    revisions = {str(place): revision for plan in plans for place, revision in plan.revisions.items()}
    tasks = download_tasks(tasks, revisions) + tasks
    cells = sum(len(group.cells) for plan in plans for group in plan.groups)
    return Schedule(plans=tuple(plans), tasks=tuple(tasks), cells_missing=cells_missing, cells=cells)


def _segment_tasks(todo: Sequence[tuple[GroupPlan, list[CellPlan]]], plan: Plan, factor: float) -> list[Task]:
    """The training that makes the weights which the missing cells of `todo` read: their own, merged, or partners'."""
    tasks: dict[str, Task] = {}
    read = {place for group, cells in todo for place in group.places(cells)}
    mirror = mirror_of(plan.folder)
    holds = Path.exists if mirror is None else mirror.holds()
    ladders = {id(g.ladder): g.ladder for g, _ in todo if g.ladder is not None}
    for ladder in ladders.values():
        mine = [g for g, _ in todo if g.ladder is ladder]
        for planned in ladder.segments((m for m in ladder.members() if ladder.place(m) in read), holds):
            key = str(planned.out)
            updates = planned.segment.stop - planned.segment.start
            kernel = ladder.numerics.kernel is not None
            cost = Cost(updates=updates, update_tokens=ladder.tokens_per_step, by_kernel=kernel)
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
                    mirror=mirror,
                ),
                cost_seconds=cost.seconds(ladder.spec.architecture.width, mine[0].parameters) * factor,
                needs=(begin,) if begin in tasks else (),
            )
    return list(tasks.values())


def _group_task(group: GroupPlan, cells: list[CellPlan], plan: Plan, made: set[str], factor: float) -> Task:
    return Task(
        key=f"group {plan.folder} {group.name} {group.place}",
        label=f"measure {group.name}",
        payload=GroupJob(group=group, folder=plan.folder, numerics=plan.spec.numerics, mirror=mirror_of(plan.folder)),
        cost_seconds=group_seconds(group, cells, plan.spec.numerics) * factor,
        needs=tuple(sorted(str(place) for place in group.places(cells) if str(place) in made)),
    )


def group_seconds(group: GroupPlan, cells: Sequence[CellPlan], numerics: Numerics) -> float:
    """What `cells` of `group` take on one core of the reference machine."""
    width = group.ladder.spec.architecture.width if group.ladder else max(8, round((group.parameters / 24) ** 0.5))
    kernel = numerics.kernel is not None
    costs = [cost for cell in cells for cost in (replace(_cost(cell, group), by_kernel=kernel), _asked_cost(cell))]
    costs += _training_costs(cells, group, kernel)
    return sum(cost.seconds(width, group.parameters) for cost in costs)


def _cost(cell: CellPlan, group: GroupPlan) -> Cost:
    held_out = _held_out_tokens(group)
    on_task = 2 * group.materials.task_rows * group.materials.context
    if isinstance(cell.modification, Noise):
        copies = cell.modification.draws * (1 + cell.modification.antithetic)
        read = held_out * copies // (cell.modification.subsets or 1)
        return Cost(evaluated_tokens=read, drawn=copies * group.parameters)
    if isinstance(cell.modification, FineTune):
        return Cost(evaluated_tokens=held_out + on_task)
    if isinstance(cell.modification, Wanda):
        return Cost(evaluated_tokens=held_out + PASSES * cell.modification.calibration_tokens)
    if cell.modification is not None:
        return Cost(evaluated_tokens=held_out)
    return Cost(evaluated_tokens=held_out + on_task * len(group.materials.tasks))


def _training_costs(cells: Sequence[CellPlan], group: GroupPlan, kernel: bool) -> Iterator[Cost]:
    """What the fine-tunes of `cells` take to train, those that several cells share once, and a Fisher information."""
    context = group.materials.context
    tunings = {(c.modification.trained, c.seed): None for c in cells if isinstance(c.modification, FineTune)}
    for tuning, _ in tunings:
        if tuning.strength:
            yield replace(_training_cost(tuning, group), by_kernel=kernel and tuning.plain)
    for tokens in {t.regulariser.tokens for t, _ in tunings if isinstance(t.regulariser, ElasticWeights)}:
        yield Cost(updates=max(1, tokens // context), update_tokens=context)


def _training_cost(tuning: FineTune, group: GroupPlan) -> Cost:
    """Each micro-batch has the fixed cost of an update; recomputation is a forward pass more; stopping early saves
    nothing that can be counted on."""
    context, passes = group.materials.context, math.ceil(tuning.batch / (tuning.micro_batch or tuning.batch))
    again = tuning.steps * tuning.batch * context if tuning.gradient_checkpointing else 0
    stop = tuning.stop_early
    watched = math.ceil(tuning.steps / stop.every) * group.materials.task_rows * context if stop is not None else 0
    return Cost(
        updates=round(tuning.steps * passes * _work(tuning.regulariser)),
        update_tokens=tuning.batch * context // passes,
        evaluated_tokens=again + watched,
    )


def _work(regulariser: Regulariser | None) -> float:
    """A step's work in updates on the task: text is as much again, a frozen base a third; the head alone is half."""
    if isinstance(regulariser, Replay):
        return 2.0
    if isinstance(regulariser, Divergence):
        return 2.0 + 1 / 3
    return 1.0 + regulariser.amount / 2 if isinstance(regulariser, ProbeFirst) else 1.0


def _held_out_tokens(group: GroupPlan) -> int:
    size = group.materials.held_out_bytes
    if size is None:
        return group.materials.held_out_tokens
    per_token = group.cells[0].labels["bytes_per_token"]
    return round(size / per_token) if isinstance(per_token, float) else size


def _asked_cost(cell: CellPlan) -> Cost:
    """What the evaluations that the study asks for take beyond the losses."""
    noise = cell.modification if isinstance(cell.modification, Noise) else None
    copies = noise.draws * (1 + noise.antithetic) if noise is not None else 1
    return Cost(evaluated_tokens=copies * sum(evaluation.tokens for evaluation in cell.evaluations))
