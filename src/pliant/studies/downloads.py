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
    """Bytes that fetched weights may take at once: `cap` less what other runs hold, else one checkpoint a lane and one,
    or what merges and lines between checkpoints need.

    What killed runs left and this one does not need is deleted.

    Raises:
        SpecError: a checkpoint, or those that are needed together, do not fit.
    """
    fetched = [task for task in tasks if task.holds]
    if not fetched:
        return None
    largest = max(fetched, key=lambda task: task.holds)
    cache = downloads()
    needed = [task.payload.revision for task in fetched]
    cache.sweep(keep=needed)
    together = held_at_once(tasks)
    if cap is None:
        return max((lanes + 1) * largest.holds, together)
    room = cap - (cache.usage() - sum(cache.present(revision) for revision in needed))
    if largest.holds > room:
        raise SpecError(
            f"--cache-cap leaves {room / 1e9:.2f} GB and {largest.label.removeprefix('fetch ')} takes "
            f"{largest.holds / 1e9:.2f} GB; give a larger --cache-cap"
        )
    if together > room:
        raise SpecError(
            f"--cache-cap leaves {room / 1e9:.2f} GB, and the checkpoints that are merged or interpolated take "
            f"{together / 1e9:.2f} GB at once; give a larger --cache-cap, or a smaller window"
        )
    return room


def held_at_once(tasks: Sequence[Task]) -> int:
    """The most bytes there are at once when checkpoints come in order and each goes once nothing more needs it.

    With this room every fetch finds its place sooner or later; with less, one could wait for ever.
    """
    fetches = [task for task in tasks if task.until]
    place = {task.key: number for number, task in enumerate(fetches)}
    ready = {
        task.key: max(place[need] for need in task.needs if need in place)
        for task in tasks
        if not task.cleans_up and any(need in place for need in task.needs)
    }
    last = {task.key: max(ready[user] for user in task.needs) for task in tasks if task.cleans_up}
    return max(
        sum(fetch.holds for fetch in fetches[: number + 1] if last[fetch.until] >= number)
        for number in range(len(fetches))
    )


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
