"""What a benchmark finds: its figures, each with its spread and its target."""

from dataclasses import dataclass
from typing import Literal

Scale = Literal["smoke", "whole"]
"""`smoke` is the same code on the least work there is: a test that it runs, whose figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a row: `value` is the median over rounds, `low` and `high` the smallest and the largest round.

    `what` names the case ("gamma .005", "7M parameters"), `peer` what it is a ratio to. `unit` is "x" for a ratio of
    times, peer / ours. `target` is reached by `value` at or above it, or at or below it where `at_most`.
    `peak_share` is the floating-point rate of ours over the largest this machine showed in the same run.
    """

    what: str
    peer: str
    value: float
    low: float
    high: float
    target: float
    unit: str = "x"
    at_most: bool = False
    peak_share: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind of work and its figures. `measured` keeps what they were made from: seconds of each round and the like,
    by contestant or by whatever names them."""

    work: str
    figures: tuple[Figure, ...]
    measured: dict[str, list[float]]
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """A row is met when every figure in it is."""
        return all(figure.met for figure in self.figures)
