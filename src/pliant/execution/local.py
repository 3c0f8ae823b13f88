"""Engines for one machine: in this process, or in worker processes that stay warm."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pliant.execution.engine import Event, Lane, Observer, ProcessDied, Task, TaskFailure, UserError, Work
from pliant.execution.queue import Queue
from pliant.execution.starting import context_for, thread_environment
from pliant.records.redaction import redacted

PROGRESS_SECONDS = 0.2
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SerialEngine:
    """One task after another in this process: for debugging, tests, and Python sessions."""

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        queue = Queue(tasks, room)
        while True:
            task = queue.next("work") or queue.next("fetch")
            if task is not None:
                _run_here(task, work, queue, observer)
            elif not queue.give_up(observer):
                return queue.failures


def _run_here(task: Task, work: Work, queue: Queue, observer: Observer) -> None:
    observer(Event(kind="started", key=task.key))
    try:
        work(
            task.payload,
            lambda share, figures: observer(Event(kind="progress", key=task.key, share=share, figures=figures)),
        )
    except Exception as error:  # the boundary at which a failure becomes data
        queue.failed(task, *describe(error), observer)
    else:
        queue.succeeded(task)
        observer(Event(kind="finished", key=task.key, share=1.0))


def describe(error: Exception) -> tuple[str, bool]:
    """The error without secrets, a line for users' errors and deaths, with its traceback for ours; and whether it is a
    user's."""
    user_error = isinstance(error, UserError)
    line = f"{type(error).__name__}: {error}"
    told = str(error) if isinstance(error, (UserError, ProcessDied)) else line + "\n" + traceback.format_exc(limit=8)
    return redacted(told), user_error


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """`workers` processes, each with `threads` torch threads, kept warm from the first task to the last.

    A worker that dies (out of memory, a signal) fails its task, which is tried once more in a fresh worker.
    One process more fetches, where there is anything to fetch.
    """

    workers: int
    threads: int = 1

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        queue = Queue(tasks, room)
        lanes: list[Lane] = ["work"] * min(self.workers, max(1, sum(task.lane == "work" for task in tasks)))
        lanes += ["fetch"] if any(task.lane == "fetch" for task in tasks) else []
        pool = [Worker(work, self.threads, lane) for lane in lanes]
        try:
            _drive(pool, queue, observer, lambda lane: Worker(work, self.threads, lane))
            while queue.give_up(observer):
                _drive(pool, queue, observer, lambda lane: Worker(work, self.threads, lane))
        finally:
            for worker in pool:
                worker.stop()
        return queue.failures


class Worker:
    """A process, the lane it serves, the pipe to it, and the task it is busy with."""

    def __init__(self, work: Work, threads: int, lane: Lane) -> None:
        self.lane = lane
        context = context_for(threads)
        self.pipe, theirs = context.Pipe()
        with thread_environment(threads), _own_start(work):
            self.process: BaseProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
            self.process.start()
        theirs.close()
        self.task: Task | None = None

    def start(self, task: Task) -> None:
        self.task = task
        with contextlib.suppress(ConnectionError):  # it died just now: noticed when it is listened to
            self.pipe.send((task.key, task.payload))

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()
        if self.task is None:  # it ends by itself, and frees what libraries share between processes
            self.process.join(timeout=GRACE_SECONDS)
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()


@contextlib.contextmanager
def _own_start(work: Work) -> Any:
    """Start a child with Ctrl-C blocked, and without importing the caller's script a second time.

    That script may lack the `__main__` guard, or be no file at all (standard input, a notebook).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main = sys.modules["__main__"]
    if work.__module__ != "__main__":
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drive(pool: list[Worker], queue: Queue, observer: Observer, hire: Any) -> None:
    while True:
        for index, worker in enumerate(pool):
            if worker.task is None and (task := queue.next(worker.lane)) is not None:
                if not worker.process.is_alive():  # killed while it had nothing to do
                    worker.stop()
                    pool[index] = hire(worker.lane)
                observer(Event(kind="started", key=task.key))
                pool[index].start(task)
        busy = [worker for worker in pool if worker.task is not None]
        if not busy:
            return
        ready = wait([worker.pipe for worker in busy])
        for index, worker in enumerate(pool):
            if worker.pipe in ready and not hear(worker, queue, observer):
                worker.stop()
                pool[index] = hire(worker.lane)


def hear(worker: Worker, queue: Queue, observer: Observer) -> bool:
    """Take one message from a worker; False when it has died."""
    task = worker.task
    assert task is not None, "only busy workers are listened to"
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=5)
        error = f"the worker process died (exit code {worker.process.exitcode}); out of memory?"
        queue.failed(task, error, False, observer)
        return False
    if kind == "progress":
        observer(Event(kind="progress", key=task.key, share=content[0], figures=content[1]))
        return True
    worker.task = None
    if kind == "finished":
        queue.succeeded(task)
        observer(Event(kind="finished", key=task.key, share=1.0))
    else:
        queue.failed(task, content[0], content[1], observer)
    return True


def _serve(pipe: Connection, work: Work) -> None:
    """The worker's loop: take a task, do it, say how it went; end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            _, payload = pipe.recv()
        except EOFError:
            return
        try:
            work(payload, _Reporter(pipe))
        except Exception as error:  # the boundary at which a failure becomes data
            pipe.send(("failed", describe(error)))
        else:
            pipe.send(("finished", None))


class _Reporter:
    """Sends progress at most every `PROGRESS_SECONDS`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._last = 0.0

    def __call__(self, share: float, figures: Any) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self._pipe.send(("progress", (share, dict(figures))))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
