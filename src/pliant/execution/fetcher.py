"""What fetches beside a cluster: a process of the driver's machine, which has the network that nodes often lack."""

import time
from collections.abc import Iterable
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self, final

from pliant.execution.engine import Event, Observer, Task, Work
from pliant.execution.local import Worker, hear
from pliant.execution.queue import Queue


@final
class Fetcher:
    """Does the fetch lane of a run, one task at a time; a process is started where there is anything to fetch."""

    def __init__(self, work: Work, threads: int, tasks: Iterable[Task], observer: Observer) -> None:
        self._work, self._threads, self._observer = work, threads, observer
        self._worker = self._hire() if any(task.lane == "fetch" for task in tasks) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._worker is not None:
            self._worker.stop()

    @property
    def busy(self) -> bool:
        return self._worker is not None and self._worker.task is not None

    def fetch(self, queue: Queue) -> None:
        """Begin the next task, where nothing is being done and one can begin."""
        if self._worker is None or self.busy or (task := queue.next("fetch")) is None:
            return
        if not self._worker.process.is_alive():  # killed while it had nothing to do
            self._replace()
        self._observer(Event(kind="started", key=task.key))
        self._worker.start(task)

    def listen(self, queue: Queue, seconds: float) -> None:
        """Pass on what is said, for so long or until the task has ended."""
        until = time.monotonic() + seconds
        while self._worker is not None and self.busy and (left := until - time.monotonic()) > 0:
            if wait([self._worker.pipe], timeout=left) and not hear(self._worker, queue, self._observer):
                self._replace()
            if not self.busy:
                return
        time.sleep(max(0.0, until - time.monotonic()))

    def _hire(self) -> Worker:
        return Worker(self._work, self._threads, "fetch")

    def _replace(self) -> None:
        assert self._worker is not None, "there was one"
        self._worker.stop()
        self._worker = self._hire()
