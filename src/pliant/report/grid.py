"""A small table as data: the terminal prints it, the page shows it in the unit chosen there."""

from collections.abc import Sequence
from dataclasses import dataclass

from pliant.report.unit import Unit, fixed, signed
from pliant.statistics import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text, or a loss in nats with its interval; `factor` turns nats into the unit shown, `note` tells how."""

    text: str = ""
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
            return self.text
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


def plain_interval(estimate: Estimate | None, digits: int = 2) -> str:
    """ "1.31 [1.20, 1.43]" for what is no loss."""
    if estimate is None:
        return "–"
    value = f"{estimate.value:.{digits}f}"
    shown = f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]" if estimate.has_interval else value
    return shown.replace("-", "−")


def named(parts: Sequence[str]) -> str:
    """The parts that are there, joined by commas."""
    return ", ".join(part for part in parts if part)
