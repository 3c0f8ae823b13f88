"""Weights from the Hub for as long as a run needs them: fetched before, released after, never more than the room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.revision import HubRevision
from pliant.execution.engine import Progress, Task, UserError
from pliant.studies.group import GroupJob
from pliant.studies.members import downloads
from pliant.studies.spec import SpecError

BYTES_PER_SECOND = 50e6
"""A guess of the network's speed, for the time left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchJob:
    """Fetch the weights of a revision and check them, or release them."""

    revision: HubRevision
    allow_pickle: bool = False
    remote_code: bool = False
    release: bool = False


def download_tasks(tasks: Sequence[Task], revisions: Mapping[str, HubRevision]) -> list[Task]:
    """A fetch for each folder of `revisions` that `tasks` need, in the order of need, and its release after the last.

    Their keys are the folders, as tasks name them in their needs.
    """
    users: dict[str, list[Task]] = {}
    for task in tasks:
        for need in task.needs:
            if need in revisions:
                users.setdefault(need, []).append(task)
    fetches = []
    for place, needing in users.items():
        revision, release = revisions[place], f"release {place}"
        groups = [task.payload.group for task in needing if isinstance(task.payload, GroupJob)]
        fetches += [
            Task(
                key=place,
                label=f"fetch {revision.name}",
                payload=FetchJob(
                    revision=revision,
                    allow_pickle=any(group.allow_pickle for group in groups),
                    remote_code=any(group.trust_remote_code for group in groups),
                ),
                cost_seconds=revision.weight_bytes / BYTES_PER_SECOND,
                lane="fetch",
                holds=downloads().takes(revision),
                until=release,
            ),
            Task(
                key=release,
                label=f"release {revision.name}",
                payload=FetchJob(revision=revision, release=True),
                cost_seconds=0.0,
                needs=tuple(task.key for task in needing),
                lane="fetch",
                cleans_up=True,
            ),
        ]
    return fetches


def room_for(tasks: Sequence[Task], cap: int | None, lanes: int) -> int | None:
    """Bytes that fetched weights may take at once: `cap` less what other runs hold, else one checkpoint a lane and one.

    What killed runs left and this one does not need is deleted.

    Raises:
        SpecError: no checkpoint fits.
    """
    fetched = [task for task in tasks if task.holds]
    if not fetched:
        return None
    largest = max(fetched, key=lambda task: task.holds)
    cache = downloads()
    needed = [task.payload.revision for task in fetched]
    cache.sweep(keep=needed)
    if cap is None:
        return (lanes + 1) * largest.holds
    room = cap - (cache.usage() - sum(cache.present(revision) for revision in needed))
    if largest.holds > room:
        raise SpecError(
            f"--cache-cap leaves {room / 1e9:.2f} GB and {largest.label.removeprefix('fetch ')} takes "
            f"{largest.holds / 1e9:.2f} GB; give a larger --cache-cap"
        )
    return room


def fetch_or_release(job: FetchJob, progress: Progress) -> None:
    """Do `job`; what is there already is not fetched again.

    Raises:
        UserError: not to be had, not what was published, or no room on the disk.
    """
    if job.release:
        downloads().release(job.revision)
        return
    try:
        downloads().fetch(
            job.revision,
            allow_pickle=job.allow_pickle,
            remote_code=job.remote_code,
            progress=lambda done, total: progress(done / max(total, 1), {"fetched_bytes": float(done)}),
        )
    except CheckpointError as error:
        raise UserError(str(error)) from error
