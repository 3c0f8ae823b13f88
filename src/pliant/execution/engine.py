"""Tasks that may need one another, and the Protocol of what runs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Progress = Callable[[float, Mapping[str, float]], None]
"""Called by work as it goes: the share done, 0 to 1, and figures to show (loss, tokens_per_second)."""

Work = Callable[[Any, Progress], None]
"""A module-level callable: takes a task's payload, writes its results to the store, returns nothing."""


Lane = Literal["work", "fetch"]
"""What a task keeps busy: a worker's processor, or the network and the disk beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work: `payload` goes to the work callable once every task named in `needs` has succeeded.

    A task of the fetch lane runs beside those of the work lane. It takes `holds` bytes of the run's room from its
    start until the task `until` has ended. One that `cleans_up` starts when all it needs have ended, however they did.
    """

    key: str
    label: str
    payload: Any
    cost_seconds: float
    needs: tuple[str, ...] = ()
    lane: Lane = "work"
    holds: int = 0
    until: str = ""
    cleans_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What an observer hears: a task started, went on, was finished, failed, or was skipped because a need failed."""

    kind: str
    key: str
    share: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


Observer = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailure:
    """A task that did not succeed: the error of its last attempt, or the task whose failure kept it from starting."""

    key: str
    label: str
    error: str
    attempts: int
    user_error: bool = False


class Engine(Protocol):
    """Runs tasks in an order that respects their needs; the results are in the store, never in the engine."""

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        """Run every task; a failure stops only what needs it. Returns the failures, in order of happening.

        Tasks together never hold more than `room` bytes.
        """
        ...


class UserError(ValueError):
    """Something the user must mend: shown as one line, not retried."""


class ProcessDied(RuntimeError):
    """A process that worked on a task ended without a word: shown as one line, and tried again."""


def check_needs(tasks: Sequence[Task]) -> None:
    """Every need names a task; asserted, since plans are ours."""
    keys = {task.key for task in tasks}
    assert len(keys) == len(tasks), "task keys must differ"
    assert all(task.until in keys for task in tasks if task.holds), "room is held until a task of the run has ended"
    assert all(need in keys for task in tasks for need in task.needs), "a need names no task"


def dependants(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """For each task those that need it, in the order given."""
    found: dict[str, list[Task]] = {task.key: [] for task in tasks}
    for task in tasks:
        for need in dict.fromkeys(task.needs):
            found[need].append(task)
    return found


def critical_path(tasks: Sequence[Task]) -> dict[str, float]:
    """For each task its own cost plus the longest chain of costs that waits for it, in seconds."""
    waiting = dependants(tasks)
    lengths: dict[str, float] = {}

    def length(task: Task) -> float:
        if task.key not in lengths:
            lengths[task.key] = task.cost_seconds + max((length(d) for d in waiting[task.key]), default=0.0)
        return lengths[task.key]

    # needs come before dependants in a plan, so walking backwards keeps the recursion shallow
    for task in reversed(tasks):
        length(task)
    return lengths
