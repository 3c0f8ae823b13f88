"""Figures as plain data: what page.js draws, and how each point was computed from which records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pliant.records.identity import Json
from pliant.statistics import Estimate, Reading

Kind = Literal["mean", "difference", "rate", "parabola", "optimum", "reused", "against"]
"""How page and test recompute a point from its readings; `FORMULA` says it in words.

In each, "m" is the modified value, "b" the base, "v" the validation task loss that chooses a rate, "d" the distance.
"""

FEWEST_TOKENS = 1000.0
"""A smaller "budget" is a checkpoint's place in its trajectory: its tokens are not known."""

MOST_POINTS = 30_000
"""A study of more (series x run x budget) has the means of its runs drawn, and not each run beside them."""
MOST_READINGS = 50_000
"""So many values does a page hold behind its points; the points after that name none. Both keep a page openable."""
MOST_LINES = 40
"""A figure of more strengths, or more budgets, shows so many of them, evenly spread."""

Dash = Literal["solid", "dash", "dot"]

FORMULA: Mapping[Kind, str] = {
    "mean": "Average the two members of an antithetic pair, then the draws of each run, then the runs.",
    "difference": (
        "Modified minus base loss on the same tokens: average the two members of an antithetic pair, then "
        "the draws of each run; subtract that run's base loss; average the runs."
    ),
    "rate": "In each run, the rate whose validation task loss is lowest; geometric mean over runs.",
    "optimum": (
        "In each run, the minimum of the parabola of validation task loss in log rate through the best rate "
        "and its two neighbours; geometric mean over runs."
    ),
    "parabola": (
        "In each run, a parabola in log rate through the best rate and its two neighbours finds the optimum "
        "on validation task loss; the parabola of the shown loss through the same rates is read there; "
        "average the runs. A best rate at the end of the grid is taken as it is."
    ),
    "reused": (
        "In each run, the rate whose validation task loss is lowest at the middle budget (the lower one of two), used "
        "at this budget; average the runs."
    ),
    "against": (
        "Average the shown loss over the runs; its place on the axis is the average over the same runs of the distance "
        "moved at that rate."
    ),
}


_Line = TypeVar("_Line")


@dataclass(slots=True)
class Ledger:
    """Numbers readings as they are first used, so that the page holds each once, and counts what is left out.

    `crowded`: single runs are not drawn. `unnamed`: points of whose readings there are too many for the page.
    """

    places: dict[int, int] = field(default_factory=dict)
    kept: list[Reading] = field(default_factory=list)
    crowded: bool = False
    unnamed: int = 0
    undrawn: int = 0

    def refer(self, readings: Iterable[Reading]) -> list[Json]:
        """The numbers of `readings` in the ledger; none where they would be more than it takes."""
        found = list(readings)
        if len(self.kept) + len(found) > MOST_READINGS and any(id(r) not in self.places for r in found):
            self.unnamed += 1
            return []
        return [self._number(reading) for reading in found]

    def some(self, lines: Sequence[_Line]) -> Sequence[_Line]:
        """At most `MOST_LINES` of `lines`, evenly spread, the first and the last among them."""
        if len(lines) <= MOST_LINES:
            return lines
        self.undrawn += len(lines) - MOST_LINES
        return [lines[round(place * (len(lines) - 1) / (MOST_LINES - 1))] for place in range(MOST_LINES)]

    def left_out(self) -> Iterator[str]:
        """What a reader of the page must know of that."""
        if self.crowded:
            yield "A study this large has the means over its runs drawn, not every run; results.parquet has them all."
        if self.undrawn:
            yield f"{self.undrawn:,} lines are left out of figures of more than {MOST_LINES}; the others spread evenly."
        if self.unnamed:
            yield (
                f"The first {len(self.kept):,} values can be followed from a point to their records; behind later "
                "points they are in results.parquet alone."
            )

    def _number(self, reading: Reading) -> int:
        if id(reading) not in self.places:
            self.places[id(reading)] = len(self.kept)
            self.kept.append(reading)
        return self.places[id(reading)]

    def to_json(self) -> Json:
        """Columns; records are listed once."""
        records = {name: i for i, name in enumerate(dict.fromkeys(r.record for r in self.kept))}
        return {
            "records": list(records),
            "record": [records[r.record] for r in self.kept],
            "metric": [r.metric for r in self.kept],
            "split": [r.split for r in self.kept],
            "draw": [r.draw for r in self.kept],
            "sign": [r.sign for r in self.kept],
            "tensor": [r.tensor for r in self.kept],
            "run": [r.run for r in self.kept],
            "strength": [r.strength for r in self.kept],
            "value": [r.value for r in self.kept],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One plotted point. `sources`: role -> numbers of readings in the ledger; `where`: its place on an axis without
    names, in words."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    kind: Kind
    method: str
    sources: Mapping[str, list[Json]]
    where: str = ""

    def to_json(self) -> Json:
        return {
            "x": self.x,
            "y": self.y,
            "low": self.low,
            "high": self.high,
            "kind": self.kind,
            "method": self.method,
            "sources": dict(self.sources),
            "where": self.where,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One line. `tone` in [0, 1] picks a sequential colour (strength), `hue` a categorical one.

    `role` "mean" is drawn bold with intervals, "run" thin; `group` ties the runs to their mean.
    `legend` is its entry there, "" for its name, None for no entry; runs have none. `factor` is its own where the
    figure holds trajectories of different tokenizers, None for that of the figure.
    """

    name: str
    group: str
    role: Literal["mean", "run"]
    points: tuple[Point, ...]
    tone: float | None = None
    hue: int | None = None
    dash: Dash = "solid"
    band: bool = False
    legend: str | None = ""
    factor: float | None = None

    def to_json(self) -> Json:
        return {
            "name": self.name,
            "group": self.group,
            "role": self.role,
            "tone": self.tone,
            "hue": self.hue,
            "dash": self.dash,
            "band": self.band,
            "factor": self.factor,
            "legend": None if self.role == "run" else self.legend or (None if self.legend is None else self.name),
            "points": [point.to_json() for point in self.points],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure. `factor` turns nats into the study's unit; None where y is no loss.

    `kind` "heat" has one trace whose points carry budget and value, `rows` the rate of each, and `best` the
    (budget, rate) to frame. The horizontal axis holds budgets unless `x_name` names what else; that is logarithmic.
    """

    id: str
    title: str
    caption: str
    kind: Literal["curves", "heat"]
    y_name: str
    unit: str | None
    factor: float | None
    ticks: Mapping[float, str]
    traces: tuple[Trace, ...]
    y_log: bool = False
    legend_title: str = ""
    x_name: str = ""
    rows: tuple[float, ...] = ()
    best: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "title": self.title,
            "kind": self.kind,
            "y_name": self.y_name,
            "unit": self.unit,
            "factor": self.factor,
            "ticks": [[value, name] for value, name in self.ticks.items()],
            "traces": [trace.to_json() for trace in self.traces],
            "x_name": self.x_name,
            "x_log": bool(self.x_name) or min(self.ticks, default=0.0) >= FEWEST_TOKENS,
            "y_log": self.y_log,
            "legend_title": self.legend_title,
            "rows": list(self.rows),
            "best": [list(pair) for pair in self.best],
        }


def bounds(estimate: Estimate) -> tuple[float | None, float | None]:
    """(low, high), or (None, None) where there is no interval."""
    return (estimate.low, estimate.high) if estimate.has_interval else (None, None)
