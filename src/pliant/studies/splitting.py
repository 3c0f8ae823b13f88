"""Groups in parts, so that no worker is left with a long one while the others have nothing to do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pliant.execution.engine import Task
from pliant.execution.store import Store
from pliant.studies.cells import CellPlan
from pliant.studies.group import GroupJob, missing
from pliant.studies.schedule import Schedule, group_seconds
from pliant.studies.variants import inseparable

PARTS_A_LANE = 3
"""No part is longer than this share of a worker's work: what is left at the end, and room for estimates to be wrong."""
LEAST_SECONDS = 5.0
LOADED_BYTES_A_SECOND = 3e8
LOADS = 10
"""A part must take so many times as long as loading its weights."""


def split(todo: Schedule, lanes: int) -> Schedule:
    """`todo` for `lanes` workers: groups longer than a third of a worker's share of all work become parts of about
    that length.

    Cells that share a training, or are trained side by side, stay together: the same is computed, whatever the parts.
    """
    if lanes == 1:
        return replace(todo, lanes=lanes)
    longest = todo.seconds / lanes / PARTS_A_LANE
    parts = {task.key: _parts(task, longest) for task in todo.tasks if isinstance(task.payload, GroupJob)}
    keys = {whole: [part.key for part in some] for whole, some in parts.items()}
    tasks = (part for task in todo.tasks for part in parts.get(task.key) or [_needing(task, keys)])
    return replace(todo, tasks=tuple(tasks), lanes=lanes)


def _needing(task: Task, keys: Mapping[str, Sequence[str]]) -> Task:
    """`task`, in need of all parts of what it needs, whose `keys` these are."""
    return replace(task, needs=tuple(key for need in task.needs for key in keys.get(need, [need])))


def _parts(task: Task, longest: float) -> list[Task]:
    job: GroupJob = task.payload
    longest = max(longest, LEAST_SECONDS, LOADS * 4 * job.group.parameters / LOADED_BYTES_A_SECOND)
    count = math.ceil(task.cost_seconds / longest)
    if count < 2:
        return [task]
    store = Store(job.folder)
    todo = [cell for cell in job.group.cells if missing(store, cell)]
    shares = _shares(job, todo, count)
    whole = group_seconds(job.group, todo, job.numerics)
    # cells that are measured already come along: the weights must be those that these were measured on
    keys = {cell.key for cell in todo}
    done = tuple(cell for cell in job.group.cells if cell.key not in keys)
    return [
        replace(
            task,
            key=f"{task.key} part {number}",
            label=f"{task.label}, part {number} of {len(shares)}",
            payload=replace(job, group=replace(job.group, cells=(*done, *share))),
            cost_seconds=task.cost_seconds * group_seconds(job.group, share, job.numerics) / whole,
        )
        for number, share in enumerate(shares, start=1)
    ]


def _shares(job: GroupJob, cells: Sequence[CellPlan], count: int) -> list[list[CellPlan]]:
    """`cells` in at most `count` lots of about equal cost: the dearest first, each to the lot that has least."""
    lots: list[tuple[float, list[CellPlan]]] = [(0.0, []) for _ in range(count)]
    bundles = inseparable(cells, job.group.parameters, job.numerics)
    costed = [(group_seconds(job.group, bundle, job.numerics), bundle) for bundle in bundles]
    for cost, bundle in sorted(costed, key=lambda one: -one[0]):
        least = min(range(count), key=lambda number: lots[number][0])
        lots[least] = (lots[least][0] + cost, [*lots[least][1], *bundle])
    return [lot for _, lot in lots if lot]
