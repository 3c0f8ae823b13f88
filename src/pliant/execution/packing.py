"""Which ready tasks go into one job: starting a job costs tens of seconds, so short tasks travel together."""

from collections.abc import Collection, Mapping, Sequence
from heapq import heapreplace

from pliant.execution.engine import Task

JOB_SECONDS = 300.0
"""A job is given so much work where there is as much: its start, some 30 s, is then a tenth of it."""
ROUNDS = 4
"""Where there is more, each place is given its share in so many jobs, so that the last ones end together."""
MOST_TASKS = 200
"""Of one job: its report is written anew at the start of each."""


def pack(tasks: Sequence[Task], *, free: int, places: int, job_seconds: float = JOB_SECONDS) -> list[list[Task]]:
    """At most `free` parcels of the first of `tasks`, which are in the order of urgency; what is in none waits.

    A parcel has max(`job_seconds`, total / (`ROUNDS` x `places`)) seconds by `cost_seconds`, or one longer task; the
    most urgent tasks go to different parcels. The size shrinks with what is left: guided self-scheduling
    (Polychronopoulos and Kuck 1987).
    """
    total = _seconds(tasks)
    size = max(job_seconds, total / (ROUNDS * places))
    count = min(free, _jobs_worth(tasks, size))
    parcels: list[list[Task]] = [[] for _ in range(count)]
    least = [(0.0, 0, number) for number in range(count)]  # a heap: seconds, tasks, which
    for task in tasks:
        if not least:
            break
        seconds, held, number = least[0]
        if held == MOST_TASKS or (held and seconds >= size):
            break
        parcels[number].append(task)
        heapreplace(least, (seconds + task.cost_seconds, held + 1, number))
    return parcels


def _jobs_worth(tasks: Sequence[Task], size: float) -> int:
    """A job for each task of `size` seconds or more, and as many as the others fill, one at least."""
    long = sum(task.cost_seconds >= size for task in tasks)
    rest = _seconds([task for task in tasks if task.cost_seconds < size])
    return long + (max(1, int(rest / size)) if long < len(tasks) else 0)


def followed(
    parcel: Sequence[Task],
    *,
    behind: Mapping[str, Sequence[Task]],
    ended: Collection[str],
    taken: Collection[str],
    job_seconds: float = JOB_SECONDS,
) -> list[Task]:
    """`parcel` and, while it has less than `job_seconds`, tasks that need only what is in it or has `ended`.

    So a chain of short tasks waits in the cluster's queue once. `behind` has the tasks that need each; those in
    `taken` travel elsewhere.
    """
    found = list(parcel)
    inside = {task.key for task in found}
    for task in found:  # grows as it is walked
        for other in behind[task.key]:
            if _seconds(found) >= job_seconds or len(found) >= MOST_TASKS:
                return found
            here = other.lane == "work" and other.key not in inside and other.key not in taken
            if here and all(need in inside or need in ended for need in other.needs):
                found.append(other)
                inside.add(other.key)
    return found


def _seconds(tasks: Sequence[Task]) -> float:
    return sum(task.cost_seconds for task in tasks)
