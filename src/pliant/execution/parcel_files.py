"""The small files by which a cluster's job and the driver know of one another.

A parcel `name` in a folder is: `name.asked`, its tasks as asked, renamed to `name.taken` by the job when it starts;
`name.job`, the job's number once it is known; `name.report`, how far each task is. A driver withdraws a parcel by
deleting the first two: a job that finds neither does nothing, however late it starts. What a loss of power takes of
them costs a second start at most, so the disk confirms none.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pliant.execution.engine import Task
from pliant.execution.writing import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """How far a task of a parcel is; `state` is waiting, begun, finished, failed, or skipped as a need failed."""

    state: str = "waiting"
    share: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    user_error: bool = False

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "failed", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelFiles:
    """The files of one parcel."""

    folder: Path
    name: str

    def ask(self, tasks: Sequence[Task]) -> None:
        asked = [{"key": task.key, "digest": payload_digest(task)} for task in tasks]
        write_atomically(self._path("asked"), json.dumps(asked), lasting=False)

    def asked(self) -> dict[str, str]:
        """The key of each task, in order, with the digest of what was asked of it; none where it was withdrawn."""
        for kind in ("taken", "asked", "taken"):  # it may be taken between two looks
            with contextlib.suppress(FileNotFoundError):
                return {task["key"]: task["digest"] for task in json.loads(self._path(kind).read_text("utf-8"))}
        return {}

    def take(self) -> bool:
        """Called by the job: whether the parcel is still asked for, also when the job starts for a second time."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._path("asked"), self._path("taken"))
        return self._path("taken").is_file()

    def submitted(self, job: str) -> None:
        write_atomically(self._path("job"), job, lasting=False)

    def job(self) -> str:
        """The job's number, by the driver or by the job itself; empty where neither has written it."""
        with contextlib.suppress(FileNotFoundError):
            return self._path("job").read_text("utf-8")
        return ""

    def report(self, tasks: Sequence[TaskReport]) -> None:
        text = json.dumps([asdict(task) for task in tasks])
        write_atomically(self._path("report"), text, lasting=False)

    def reported(self) -> list[TaskReport]:
        """How far each task is; empty before the job has started."""
        with contextlib.suppress(FileNotFoundError):
            return [TaskReport(**task) for task in json.loads(self._path("report").read_text("utf-8"))]
        return []

    def withdraw(self) -> bool:
        """Take back what was asked; whether no job had taken it: one that starts from now on does nothing."""
        try:
            self._path("asked").unlink()
        except FileNotFoundError:
            self._path("taken").unlink(missing_ok=True)
            return False
        return True

    def forget(self) -> None:
        self.withdraw()
        for kind in ("job", "report"):
            self._path(kind).unlink(missing_ok=True)

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"


def parcels_in(folder: Path) -> list[ParcelFiles]:
    """The parcels of earlier drivers that were not withdrawn."""
    names = {path.stem for kind in ("asked", "taken") for path in folder.glob(f"*.{kind}")}
    return [ParcelFiles(folder=folder, name=name) for name in sorted(names)]


def payload_digest(task: Task) -> str:
    """Equal for equal work: what tells whether an earlier driver's job does what is asked now.

    Of the text of the payload, which is made of dataclasses: pickles of equal values differ from process to process.
    """
    return hashlib.sha256(repr(task.payload).encode()).hexdigest()
