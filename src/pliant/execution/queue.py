"""Which tasks of a run can start now: what they need has ended, and there is room for what they bring."""

from collections.abc import Sequence
from heapq import heappop, heappush

from pliant.execution.engine import Event, Lane, Observer, Task, TaskFailure, check_needs, critical_path, dependants

ATTEMPTS = 2


class Queue:
    """The tasks that wait, those that have ended, and the room that is held; one for each run of an engine.

    In the work lane the task with the longest chain behind it comes first. The fetch lane keeps the given order, so
    that what is fetched first is what is used first; there a task waits until `room` bytes, less what is held, take it.
    """

    def __init__(self, tasks: Sequence[Task], room: int | None = None) -> None:
        check_needs(tasks)
        self._rank = critical_path(tasks)
        self._waiting = {task.key: task for task in tasks}
        self._needs = {task.key: set(task.needs) for task in tasks}
        self._dependants = dependants(tasks)
        self._ready: dict[Lane, list[tuple[float, int, str]]] = {"work": [], "fetch": []}
        self._place = {task.key: number for number, task in enumerate(tasks)}
        self._first = 0
        self._attempts: dict[str, int] = {}
        self._room = room
        self._held: dict[str, Task] = {}
        self.failures: list[TaskFailure] = []
        for task in tasks:
            self._if_ready(task, self._place[task.key])

    def next(self, lane: Lane) -> Task | None:
        """Take the task of `lane` that starts now; None where nothing can."""
        ready = self._ready[lane]
        while ready and ready[0][2] not in self._waiting:  # given up
            heappop(ready)
        if not ready or not self._fits(task := self._waiting[ready[0][2]]):
            return None
        heappop(ready)
        del self._waiting[task.key]
        if task.holds:
            self._held[task.key] = task
        return task

    def _if_ready(self, task: Task, place: int) -> None:
        """Line `task` up where it needs nothing more; in the fetch lane cleaning up comes before bringing more."""
        if not self._needs[task.key]:
            rank = -self._rank[task.key] if task.lane == "work" else float(not task.cleans_up)
            heappush(self._ready[task.lane], (rank, place, task.key))

    def _fits(self, task: Task) -> bool:
        if self._room is None or not task.holds or task.key in self._held:
            return True
        return sum(held.holds for held in self._held.values()) + task.holds <= self._room

    def succeeded(self, task: Task) -> None:
        self._end(task, done=True)

    def failed(self, task: Task, error: str, user_error: bool, observer: Observer) -> None:
        attempts = self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        if attempts < ATTEMPTS and not user_error:
            self._waiting = {task.key: task, **self._waiting}  # first again: it may hold the room that others wait for
            self._first -= 1
            self._if_ready(task, self._first)
            return
        self._fail(task, error, attempts, user_error, observer)

    def give_up(self, observer: Observer) -> bool:
        """When nothing runs and nothing starts: fail the first task that needs more room at once than there is."""
        stuck = next((task for task in self._waiting.values() if task.holds and not self._needs[task.key]), None)
        if stuck is None:
            return False
        del self._waiting[stuck.key]
        error = (
            f"needs {stuck.holds / 1e9:.2f} GB beside the {self._held_gigabytes:.2f} GB that wait for it, of "
            f"{(self._room or 0) / 1e9:.2f} GB; give a larger --cache-cap"
        )
        self._fail(stuck, error, 0, True, observer)
        return True

    @property
    def _held_gigabytes(self) -> float:
        return sum(held.holds for held in self._held.values()) / 1e9

    def _fail(self, task: Task, error: str, attempts: int, user_error: bool, observer: Observer) -> None:
        failure = TaskFailure(key=task.key, label=task.label, error=error, attempts=attempts, user_error=user_error)
        self.failures.append(failure)
        observer(Event(kind="failed", key=task.key, error=error))
        self._end(task, done=False)
        self._skip_dependants(task, observer)

    def _end(self, task: Task, *, done: bool) -> None:
        self._held = {key: held for key, held in self._held.items() if held.until != task.key}
        for other in self._dependants[task.key]:
            if done or other.cleans_up:
                self._needs[other.key].discard(task.key)
                self._if_ready(other, self._place[other.key])

    def _skip_dependants(self, failed: Task, observer: Observer) -> None:
        for task in self._dependants[failed.key]:
            if task.cleans_up or self._waiting.pop(task.key, None) is None:
                continue
            error = f"not started, because {failed.label} failed"
            self.failures.append(TaskFailure(key=task.key, label=task.label, error=error, attempts=0))
            observer(Event(kind="skipped", key=task.key, error=error))
            self._end(task, done=False)
            self._skip_dependants(task, observer)
