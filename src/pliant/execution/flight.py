"""A parcel in flight: its job waits or runs; and the flights of an earlier driver, taken over or cancelled."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from pliant.execution.clusters import Cluster
from pliant.execution.engine import Task
from pliant.execution.parcel_files import ParcelFiles, TaskReport, parcels_in, payload_digest


@final
@dataclass(slots=True)
class Flight:
    """A parcel whose job waits or runs. `tasks`, by place, are those that the queue has given and that go on still."""

    files: ParcelFiles
    job: str
    keys: list[str]
    tasks: dict[int, Task] = field(default_factory=dict)
    heard: list[TaskReport] = field(default_factory=list)
    gone_since: float | None = None


def take_over(
    folder: Path, cluster: Cluster, tasks: Sequence[Task], *, poll_seconds: float, lag_seconds: float
) -> list[Flight]:
    """The jobs of an earlier driver that do some of `tasks` as they are now; the others are cancelled and have ended.

    A job without a number was submitted, if at all, in the driver's last moment: it will find itself withdrawn.
    """
    now = {task.key: task for task in tasks}
    flights, strangers = [], set()
    for files in parcels_in(folder):
        asked, job = files.asked(), files.job()
        wanted = [key for key in asked if key in now]
        same = all(payload_digest(now[key]) == asked[key] for key in wanted)
        if job and wanted and same and job in _alive(folder, cluster, {job}, poll_seconds):
            flights.append(Flight(files=files, job=job, keys=list(asked)))
            continue
        if not files.withdraw() and not job:
            job = _named_late(files, lag_seconds)
        files.forget()
        strangers |= {job} - {""}
    cluster.cancel(folder, strangers)
    while _alive(folder, cluster, strangers, poll_seconds):
        time.sleep(poll_seconds)
    return flights


def _named_late(files: ParcelFiles, lag_seconds: float) -> str:
    """The number of a job that took its parcel just as its driver died, and writes its number next."""
    until = time.monotonic() + lag_seconds
    while not files.job() and time.monotonic() < until:
        time.sleep(0.05)
    return files.job()


def _alive(folder: Path, cluster: Cluster, jobs: set[str], poll_seconds: float) -> set[str]:
    while (alive := cluster.alive(folder, jobs)) is None:
        time.sleep(poll_seconds)
    return alive
