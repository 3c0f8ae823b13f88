"""Which tasks of a run can start now: what they need has ended, and there is room for what they bring."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from pliant.execution.engine import Event, Lane, Observer, Task, TaskFailure, check_needs, critical_path, dependants

ATTEMPTS = 2
LOSSES = 10
"""So often may a task be interrupted by what is no fault of its own."""
LOOK_AHEAD = 32
"""So many tasks of equal rank are looked through for one that suits a worker."""

_Entry = tuple[float, int, str]


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
        self._ready: dict[Lane, list[_Entry]] = {"work": [], "fetch": []}
        self._place = {task.key: number for number, task in enumerate(tasks)}
        self._first = 0
        self._attempts: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        self._room = room
        self._held: dict[str, Task] = {}
        self.failures: list[TaskFailure] = []
        for task in tasks:
            self._if_ready(task, self._place[task.key])

    def next(self, lane: Lane, near: Callable[[Task], bool] | None = None) -> Task | None:
        """Take the task of `lane` that starts now, of several equal ones the first that is `near`; None where nothing
        can start."""
        ready = self._ready[lane]
        self._drop_given_up(ready)
        if not ready or not self._fits(self._waiting[ready[0][2]]):
            return None
        task = self._waiting[heappop(ready)[2] if near is None else self._nearest(ready, near)]
        del self._waiting[task.key]
        if task.holds:
            self._held[task.key] = task
        return task

    def startable(self, lane: Lane) -> int:
        """How many tasks of `lane` need nothing more; in a full fetch lane none."""
        ready = self._ready[lane]
        self._drop_given_up(ready)
        if not ready or not self._fits(self._waiting[ready[0][2]]):
            return 0
        return sum(key in self._waiting for _, _, key in ready)

    def _drop_given_up(self, ready: list[_Entry]) -> None:
        while ready and ready[0][2] not in self._waiting:
            heappop(ready)

    def _nearest(self, ready: list[_Entry], near: Callable[[Task], bool]) -> str:
        """Take one of the first `LOOK_AHEAD` entries that share the first one's rank."""
        seen = [heappop(ready)]
        while not near(self._waiting[seen[-1][2]]):
            self._drop_given_up(ready)
            if len(seen) == LOOK_AHEAD or not ready or ready[0][0] != seen[0][0]:
                chosen = seen[0]
                break
            seen.append(heappop(ready))
        else:
            chosen = seen[-1]
        for entry in seen:
            if entry is not chosen:
                heappush(ready, entry)
        return chosen[2]

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
            self._again(task)
        else:
            self._fail(task, error, attempts, user_error, observer)

    def interrupted(self, task: Task, error: str, observer: Observer) -> None:
        """What `task` ran on is gone, such as a node: that is no attempt, but the last of `LOSSES` is a failure."""
        losses = self._losses[task.key] = self._losses.get(task.key, 0) + 1
        if losses < LOSSES:
            self._again(task)
        else:
            self._fail(task, f"{error}, {losses} times", losses, False, observer)

    def _again(self, task: Task) -> None:
        self._waiting = {task.key: task, **self._waiting}  # first again: it may hold the room that others wait for
        self._first -= 1
        self._if_ready(task, self._first)

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
