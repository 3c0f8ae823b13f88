"""Which tasks of a run can start now: what they need has ended, and there is room for what they bring."""

from collections.abc import Sequence

from pliant.execution.engine import Event, Lane, Observer, Task, TaskFailure, check_needs, critical_path

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
        self._done: set[str] = set()
        self._ended: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._room = room
        self._held: dict[str, Task] = {}
        self.failures: list[TaskFailure] = []

    def next(self, lane: Lane) -> Task | None:
        """Take the task of `lane` that starts now; None where nothing can."""
        ready = [task for task in self._waiting.values() if task.lane == lane and self._is_ready(task)]
        if not ready:
            return None
        task = max(ready, key=lambda candidate: self._rank[candidate.key]) if lane == "work" else _in_order(ready)
        if not self._fits(task):
            return None
        del self._waiting[task.key]
        if task.holds:
            self._held[task.key] = task
        return task

    def _is_ready(self, task: Task) -> bool:
        return (self._ended if task.cleans_up else self._done).issuperset(task.needs)

    def _fits(self, task: Task) -> bool:
        if self._room is None or not task.holds or task.key in self._held:
            return True
        return sum(held.holds for held in self._held.values()) + task.holds <= self._room

    def succeeded(self, task: Task) -> None:
        self._done.add(task.key)
        self._end(task)

    def failed(self, task: Task, error: str, user_error: bool, observer: Observer) -> None:
        attempts = self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        if attempts < ATTEMPTS and not user_error:
            self._waiting = {task.key: task, **self._waiting}  # first again: it may hold the room that others wait for
            return
        self._fail(task, error, attempts, user_error, observer)

    def give_up(self, observer: Observer) -> bool:
        """When nothing runs and nothing starts: fail the first task that needs more room at once than there is."""
        stuck = next((task for task in self._waiting.values() if task.holds and self._is_ready(task)), None)
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
        self._end(task)
        self._skip_dependants(task, observer)

    def _end(self, task: Task) -> None:
        self._ended.add(task.key)
        self._held = {key: held for key, held in self._held.items() if held.until != task.key}

    def _skip_dependants(self, failed: Task, observer: Observer) -> None:
        for task in [t for t in self._waiting.values() if failed.key in t.needs and not t.cleans_up]:
            if self._waiting.pop(task.key, None) is None:
                continue
            error = f"not started, because {failed.label} failed"
            self.failures.append(TaskFailure(key=task.key, label=task.label, error=error, attempts=0))
            observer(Event(kind="skipped", key=task.key, error=error))
            self._end(task)
            self._skip_dependants(task, observer)


def _in_order(ready: Sequence[Task]) -> Task:
    """Cleaning up comes before bringing more; else as given."""
    return next((task for task in ready if task.cleans_up), ready[0])
