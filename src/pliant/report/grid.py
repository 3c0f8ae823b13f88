"""A small table as data: the terminal prints it, the page shows it in the unit chosen there."""

from collections.abc import Sequence
from dataclasses import dataclass

from pliant.report.unit import Unit, fixed, signed
from pliant.statistics import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text, or a loss in nats, with an interval; `factor` turns nats into the unit shown, `note` tells how."""

    text: str = ""
    interval: str = ""
    nats: float | None = None
    low: float | None = None
    high: float | None = None
    factor: float = 1.0
    signed: bool = True
    note: str = ""

    @property
    def words(self) -> str:
        """ "+0.031 [+0.020, +0.042]", or the text."""
        if self.nats is None:
            return f"{self.text} {self.interval}".strip()
        number = signed if self.signed else fixed
        value = number(self.nats * self.factor)
        if self.low is None or self.high is None:
            return value
        return f"{value} [{number(self.low * self.factor)}, {number(self.high * self.factor)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rows under a head; the first cell of a row names it. `note` is said below, `spare` are columns that a narrow
    terminal goes without."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    spare: frozenset[int] = frozenset()


def loss_cell(estimate: Estimate | None, unit: Unit, *, signed: bool = True) -> Cell:
    """A loss with its interval; an en dash where there is none to show."""
    if estimate is None:
        return Cell(text="–", note="no run has both, or all its budgets")
    known = estimate.has_interval
    return Cell(
        nats=estimate.value,
        low=estimate.low if known else None,
        high=estimate.high if known else None,
        factor=unit.factor,
        signed=signed,
        note=estimate.method,
    )


def number_cell(estimate: Estimate | None, why: str = "") -> Cell:
    """What is no loss, two decimals; an en dash, and `why`, where there is none."""
    if estimate is None:
        return Cell(text="–", note=why)
    value, interval = _parts(estimate)
    return Cell(text=value, interval=interval, note=estimate.method)


def number_words(estimate: Estimate) -> str:
    """ "1.31 [1.20, 1.43]", or the value alone."""
    return " ".join(part for part in _parts(estimate) if part)


def _parts(estimate: Estimate) -> tuple[str, str]:
    interval = f"[{estimate.low:.2f}, {estimate.high:.2f}]" if estimate.has_interval else ""
    return f"{estimate.value:.2f}".replace("-", "−"), interval.replace("-", "−")


def named(parts: Sequence[str]) -> str:
    """The parts that are there, joined by commas."""
    return ", ".join(part for part in parts if part)
