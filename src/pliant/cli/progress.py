"""What a run shows while it goes: a bar on a terminal, a line a minute in a log, or JSON lines."""

import json
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pliant.execution.engine import Event, Observer

if TYPE_CHECKING:
    from pliant.studies.schedule import Schedule

QUIET_SECONDS = 60.0


class Log(StrEnum):
    """How to report progress. `auto`: a bar on a terminal, else a line a minute."""

    auto = "auto"
    jsonl = "jsonl"
    none = "none"


class Ledger:
    """Estimated seconds of work done and left; the pace is what this run has shown so far."""

    def __init__(self, schedule: "Schedule", workers: int) -> None:
        self.costs = {task.key: max(task.cost_seconds, 1e-3) for task in schedule.tasks}
        self.labels = {task.key: task.label for task in schedule.tasks}
        self._shares = dict.fromkeys(self.costs, 0.0)
        self._total = sum(self.costs.values())
        self._done = 0.0
        self.figures: Mapping[str, float] = {}
        self.label = ""
        self.finished = 0
        self._workers = workers
        self._begun = time.monotonic()

    def hear(self, event: Event) -> None:
        self.label = self.labels[event.key]
        if event.kind == "progress":
            self._reach(event.key, event.share)
            self.figures = event.figures
        if event.kind in ("finished", "failed", "skipped"):
            self._reach(event.key, 1.0)
            self.finished += 1

    def _reach(self, key: str, share: float) -> None:
        """Kept up to date rather than summed: it is asked for at every event."""
        self._done += self.costs[key] * (share - self._shares[key])
        self._shares[key] = share

    @property
    def share(self) -> float:
        return self._done / self._total

    @property
    def seconds_left(self) -> float:
        """From the pace so far; before anything is done, from the estimate alone."""
        elapsed = time.monotonic() - self._begun
        estimate = self._total / self._workers
        if self.share < 0.02:
            return max(0.0, estimate - elapsed)
        return elapsed * (1 - self.share) / self.share


def observer(schedule: "Schedule", log: Log, workers: int) -> Observer:
    """The observer for `log`; where nothing is to be shown, one that does nothing."""
    ledger = Ledger(schedule, workers)
    if log is Log.jsonl:
        return lambda event: _json_line(ledger, event)
    if log is Log.none:
        return lambda event: None
    return _Bar(ledger) if sys.stderr.isatty() else _Lines(ledger)


def clock(seconds: float) -> str:
    """75 -> "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fetching(size: int) -> str:
    """ "; 12.3 GB to fetch", or nothing where nothing is."""
    return f"; {size / 1e9:.3g} GB to fetch" if size >= 1e6 else ""


def _json_line(ledger: Ledger, event: Event) -> None:
    ledger.hear(event)
    line: dict[str, Any] = {
        "event": event.kind,
        "task": ledger.labels[event.key],
        "share": round(event.share, 4),
        "total_share": round(ledger.share, 4),
        "seconds_left": round(ledger.seconds_left, 1),
        **{name: round(value, 6) for name, value in event.figures.items()},
    }
    if event.error:
        line["error"] = event.error
    print(json.dumps(line), flush=True)


class _Lines:
    """A line a minute, and one for every failure."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        self._ledger.hear(event)
        if event.kind == "failed":
            print(
                f"failed: {self._ledger.labels[event.key]}: {event.error.splitlines()[0]}", file=sys.stderr, flush=True
            )
        if time.monotonic() - self._last >= QUIET_SECONDS:
            self._last = time.monotonic()
            ledger = self._ledger
            left = clock(ledger.seconds_left)
            print(
                f"{ledger.share:4.0%}  {ledger.finished}/{len(ledger.costs)} tasks  {left} left",
                file=sys.stderr,
                flush=True,
            )


class _Bar:
    """One bar over the whole run, with the current task's loss and speed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bar = Progress(
            TextColumn("{task.percentage:3.0f}%"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.description}", style="dim", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("starting workers", total=1.0, left=clock(ledger.seconds_left))

    def __call__(self, event: Event) -> None:
        ledger = self._ledger
        ledger.hear(event)
        if event.kind == "failed":
            line = f" {ledger.labels[event.key]}: {event.error.splitlines()[0]}"
            self._bar.console.print(Text.assemble(("failed", "red"), line))
        self._bar.update(
            self._task,
            completed=ledger.share,
            left=clock(ledger.seconds_left),
            description=ledger.label + _shown(ledger.figures),
        )
        if ledger.finished == len(ledger.costs):
            self._bar.stop()


def _shown(figures: Mapping[str, float]) -> str:
    if "loss" not in figures:
        return ""
    return f"  loss {figures['loss']:.3f}  {figures.get('tokens_per_second', 0) / 1000:.0f}K tokens/s"
