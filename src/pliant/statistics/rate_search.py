"""The search for the best learning rate of a checkpoint: from the rates that were tried to those to try next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pliant.statistics.rate_scatter import prediction_error
from pliant.statistics.tuned import RatePoint, parabola_vertex, parabola_weights

Why = Literal[
    "coarse grid",
    "around a neighbour's best",
    "beyond an end",
    "below what diverged",
    "minimum of the parabola",
    "beside the best",
    "best between its neighbours",
    "narrow enough",
    "best at the end of what may be tried",
    "every rate diverged",
]
STOPS: frozenset[str] = frozenset(
    {"best between its neighbours", "narrow enough", "best at the end of what may be tried", "every rate diverged"}
)
WITHIN_NATS = 0.002
"""A fifth of the margin of a verdict."""
COARSE_RATIO = 4.0
"""Between neighbours of the coarse grid."""
WARM_RATIO = 2.0
"""From a neighbour's best to the rates tried beside it."""
ERRORS = 2.0
"""Standard errors of a prediction that an interval allows for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The rates to try next and why, none where the search is over; and what that was decided on.

    `best` is the best rate so far and `loss` its validation loss, None where there is none. The score of the tuned
    rate lies in [`low`, `loss`]: `low` is what the untried rates beside the best may reach, None where that is not
    known. Nats per token.
    """

    rates: tuple[float, ...]
    why: Why
    best: float | None = None
    loss: float | None = None
    low: float | None = None

    @property
    def over(self) -> bool:
        return self.why in STOPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was tried at one checkpoint, rates above 0, and whether its search is over."""

    points: tuple[RatePoint, ...] = ()
    over: bool = False

    @property
    def losses(self) -> dict[float, float]:
        """Rate -> validation loss, of those that did not diverge."""
        return {
            p.rate: p.validation_task_loss
            for p in self.points
            if not p.diverged and math.isfinite(p.validation_task_loss)
        }

    @property
    def best(self) -> float | None:
        """The rate of lowest validation loss, the lowest of equals; None where nothing trained."""
        losses = self.losses
        return min(sorted(losses), key=losses.__getitem__) if losses else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What may be tried, rising: the `grid` that a full sweep would be, with further rates `below` and `above` it."""

    grid: tuple[float, ...]
    below: tuple[float, ...] = ()
    above: tuple[float, ...] = ()

    @property
    def all(self) -> tuple[float, ...]:
        return (*self.below, *self.grid, *self.above)

    def places(self, ratio: float) -> int:
        """How many places of the grid a factor `ratio` is, one at least."""
        steps = [math.log(high / low) for low, high in pairwise(self.grid)]
        return max(1, round(math.log(ratio) / (math.fsum(steps) / len(steps))))


def next_steps(line: Sequence[Tried], rates: Rates, *, scatter: float, within: float) -> list[Step | None]:
    """What comes next at each checkpoint of one run, in order of their budgets; None where there is nothing to do yet.

    The middle one begins with a coarse grid, the others around the best rate of their neighbour towards the middle,
    once its search is over.
    """
    middle = (len(line) - 1) // 2
    steps: list[Step | None] = []
    for place, tried in enumerate(line):
        neighbour = line[place + (1 if place < middle else -1)] if place != middle else None
        waits = neighbour is not None and not neighbour.over and not tried.points
        start = neighbour.best if neighbour is not None else None
        steps.append(
            None if tried.over or waits else next_step(tried, rates, start=start, scatter=scatter, within=within)
        )
    return steps


def next_step(tried: Tried, rates: Rates, *, start: float | None, scatter: float, within: float) -> Step:
    """What comes after `tried`. `scatter` is that of losses about their parabolas (`scatter_of`), `within` in nats.

    First `start` and the rates a factor `WARM_RATIO` beside it; without it a coarse grid. Where no rate is tried on one
    side of the best: as far out there as the nearest on the other side. Else the parabola in log rate through the best
    and the nearest tried beside it predicts the losses of untried ones; that nearest its minimum is next, or those
    beside the best. A rate is tried only if its prediction minus `ERRORS` standard errors lies more than `within` below
    the best loss; where none does, or both beside the best are tried (one that diverged included), the search is over.
    """
    best, losses = tried.best, tried.losses
    if not tried.points:
        return _first(rates, start)
    where = {rates.all.index(point.rate) for point in tried.points}
    if best is None:
        below = max(0, min(where) - rates.places(COARSE_RATIO))
        if below == min(where):
            return Step(rates=(), why="every rate diverged")
        return Step(rates=(rates.all[below],), why="below what diverged")
    at = rates.all.index(best)
    lower, upper = (max((p for p in where if p < at), default=None), min((p for p in where if p > at), default=None))
    if lower is None or upper is None:
        return _outwards(rates, at, lower, upper, losses, within)
    return _between(rates, (lower, at, upper), where, losses, scatter, within)


def _between(
    rates: Rates,
    three: tuple[int, int, int],
    where: set[int],
    losses: Mapping[float, float],
    scatter: float,
    within: float,
) -> Step:
    lower, at, upper = three
    every, loss = rates.all, losses[rates.all[at]]
    beside = [place for place in (at - 1, at + 1) if place not in where]
    if not beside:
        return Step(rates=(), why="best between its neighbours", best=every[at], loss=loss, low=loss)
    x, y = [math.log(every[place]) for place in three], [losses.get(every[place], math.nan) for place in three]
    vertex = parabola_vertex(x, y)
    if math.isnan(vertex):
        return Step(rates=tuple(every[p] for p in beside), why="beside the best", best=every[at], loss=loss)
    nearest = min(range(lower, upper + 1), key=lambda place: abs(math.log(every[place]) - vertex))
    wanted = beside if nearest in where else [nearest]
    lows = {place: _may_reach(x, y, math.log(every[place]), scatter) for place in wanted}
    worth = tuple(every[place] for place, low in lows.items() if low < loss - within)
    why: Why = "beside the best" if nearest in where else "minimum of the parabola"
    low = min(loss, *lows.values())
    return Step(
        rates=worth,
        why=why if worth else "narrow enough",
        best=every[at],
        loss=loss,
        low=low if math.isfinite(low) else None,
    )


def _outwards(
    rates: Rates, at: int, lower: int | None, upper: int | None, losses: Mapping[float, float], within: float
) -> Step:
    """Past an end of the grid only while that lowers the loss by more than `within`: a flat curve has no end."""
    every = rates.all
    best, loss = every[at], losses[every[at]]
    inner = lower if lower is not None else upper
    stride = 1 if inner is None else abs(at - inner)
    wanted = ([at - stride] if lower is None else []) + ([at + stride] if upper is None else [])
    places = sorted({min(max(place, 0), len(every) - 1) for place in wanted} - {at})
    drop = losses.get(every[inner], math.inf) - loss if inner is not None else math.inf
    if best in (rates.grid[0], rates.grid[-1], *rates.below, *rates.above) and drop <= within:
        return Step(rates=(), why="narrow enough", best=best, loss=loss, low=loss - drop)
    if not places:
        return Step(rates=(), why="best at the end of what may be tried", best=best, loss=loss)
    return Step(rates=tuple(every[place] for place in places), why="beyond an end", best=best, loss=loss)


def _first(rates: Rates, start: float | None) -> Step:
    if start is None:
        return Step(rates=coarse_grid(rates.grid), why="coarse grid")
    at, side = rates.all.index(start), rates.places(WARM_RATIO)
    places = sorted({min(max(place, 0), len(rates.all) - 1) for place in (at - side, at, at + side)})
    return Step(rates=tuple(rates.all[place] for place in places), why="around a neighbour's best", best=start)


def coarse_grid(grid: Sequence[float]) -> tuple[float, ...]:
    """Rates of the rising `grid` from its first to its last, evenly spread, about `COARSE_RATIO` apart."""
    intervals = max(1, min(len(grid) - 1, round(math.log(grid[-1] / grid[0]) / math.log(COARSE_RATIO))))
    return tuple(
        grid[place] for place in sorted({round(i * (len(grid) - 1) / intervals) for i in range(intervals + 1)})
    )


def _may_reach(x: Sequence[float], y: Sequence[float], u: float, scatter: float) -> float:
    """The loss predicted at u minus `ERRORS` standard errors of that prediction."""
    weights = parabola_weights(x, u)
    return math.fsum(w * value for w, value in zip(weights, y, strict=True)) - ERRORS * scatter * prediction_error(
        weights
    )
