"""What runs on a cluster's nodes: a process that stays warm, does one task after another, and says how it went."""

import contextlib
import importlib
import os
import pickle
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from pliant.execution.engine import UserError, Work
from pliant.execution.local import describe

NEWS_SECONDS = 0.3

Told = tuple[str, float, Mapping[str, float]]
"""Progress: of which task, the share done, and figures."""
Outcome = tuple[bool, tuple[str, bool], Told | None]
"""Whether a task succeeded; else its error and whether that is a user's; and progress that nobody has heard yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What a worker must share with the process that gives it work; `check` raises a UserError where it does not see
    what it needs. `work` and `check` are pickled: they are opened once the versions agree."""

    pliant: str
    python: str
    folder: str
    work: bytes
    check: bytes

    @classmethod
    def here(cls, work: Work, check: Callable[[], None] | None) -> "Driver":
        from ray import cloudpickle

        return cls(
            pliant=_version(),
            python=platform.python_version(),
            folder=os.getcwd(),
            work=cloudpickle.dumps(work),
            check=cloudpickle.dumps(check),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker is: its node and process, and what keeps it from working there, in a line."""

    node: str
    host: str
    process: int
    misfit: str = ""


def _version() -> str:
    # the root package names the facade, for type checkers; nothing below the facade may import it
    return str(importlib.import_module("pliant").__version__)


@final
class Worker:
    """An actor: `do` in its own thread, `news` beside it."""

    def __init__(self) -> None:
        self._work: Work | None = None
        self._changed = threading.Condition()
        self._latest: Told | None = None
        self._key: str | None = None

    def hello(self, driver: Driver) -> Place:
        """Make this process one that can do the driver's work, or say why it cannot."""
        import ray

        misfit = ""
        try:
            self._settle(driver)
        except Exception as error:  # told in a line by the driver, which goes on with others
            misfit = f"{platform.node()}: {describe(error)[0].splitlines()[0]}"
        node = ray.get_runtime_context().get_node_id()
        return Place(node=node, host=platform.node(), process=os.getpid(), misfit=misfit)

    def _settle(self, driver: Driver) -> None:
        """Raises:
        UserError: another pliant or Python than the driver's, or something it needs that is not seen from here.
        """
        ours, theirs = (_version(), platform.python_version()), (driver.pliant, driver.python)
        if ours != theirs:
            raise UserError(
                f"pliant {ours[0]} on Python {ours[1]} is there, this run is of pliant {theirs[0]} on "
                f"Python {theirs[1]}; install the same on every node"
            )
        with contextlib.suppress(OSError):  # relative paths are the driver's; the check tells where they lead nowhere
            os.chdir(driver.folder)
        check: Callable[[], None] | None = pickle.loads(driver.check)  # from the driver, as everything Ray brings
        if check is not None:
            check()
        self._work = pickle.loads(driver.work)

    def do(self, key: str, payload: Any) -> Outcome:
        assert self._work is not None, "a worker says hello first"
        with self._changed:
            self._key, self._latest = key, None
        problem = ("", False)
        try:
            self._work(payload, self._report)
        except Exception as error:  # the boundary at which a failure becomes data
            problem = describe(error)
        finally:
            with self._changed:
                told, self._key, self._latest = self._latest, None, None
                self._changed.notify_all()
        return problem == ("", False), problem, told

    def _report(self, share: float, figures: Mapping[str, float]) -> None:
        with self._changed:
            if self._key is not None:
                self._latest = (self._key, share, dict(figures))
                self._changed.notify_all()

    def news(self) -> Told | None:
        """Progress as soon as there is some, at most every `NEWS_SECONDS`; None once the task has ended."""
        begun = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._key is None)
            while self._key is not None and (left := NEWS_SECONDS - (time.monotonic() - begun)) > 0:
                self._changed.wait(left)
            told, self._latest = self._latest, None
        return told
