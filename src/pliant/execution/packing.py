"""Which ready tasks go into one job: starting a job costs tens of seconds, so short tasks travel together."""

from collections.abc import Sequence
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
    total = sum(task.cost_seconds for task in tasks)
    size = max(job_seconds, total / (ROUNDS * places))
    count = min(free, len(tasks), max(1, int(total / size)) if size else len(tasks))
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
