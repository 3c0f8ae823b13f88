"""The learning rate tuned for one checkpoint: chosen on validation task loss, reported on test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Edge = Literal["low", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One fine-tuning rate at one checkpoint and seed; losses in nats per token, nan where it diverged."""

    rate: float
    validation_task_loss: float = math.nan
    task_loss: float = math.nan
    pretraining_loss: float = math.nan
    diverged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedRate:
    """The best grid rate with its losses on test, and the optimum of a quadratic in log rate.

    `grid_too_short` names the end of the grid at which the best rate sits; None if it lies inside.
    `neighbours` are the rates the quadratic went through (empty where there was none to draw).
    """

    rate: float
    validation_task_loss: float
    task_loss: float
    pretraining_loss: float
    optimum_rate: float
    optimum_task_loss: float
    optimum_pretraining_loss: float
    neighbours: tuple[float, ...]
    grid_too_short: Edge | None
    diverged: int
    rates: int


def tune(points: Sequence[RatePoint]) -> TunedRate:
    """Choose the rate of lowest validation task loss; refine by a parabola through it and its neighbours.

    With u = ln(rate) the parabola of the validation loss is minimised at u*; task and pre-training loss at
    the optimum are the parabolas through the same three rates, evaluated at u*. Rate 0 is left out.
    Diverged rates are excluded and counted; one just above the best rate bounds the grid, so that the best
    rate is then not called an edge.

    Raises:
        ValueError: no positive rate was measured, or every one diverged.
    """
    grid = sorted((p for p in points if p.rate > 0), key=lambda p: p.rate)
    good = [p for p in grid if not p.diverged and math.isfinite(p.validation_task_loss)]
    if not good:
        raise ValueError(f"no rate to choose: {len(grid)} were tried and all diverged; add smaller rates")
    index = min(range(len(good)), key=lambda i: good[i].validation_task_loss)
    best = good[index]
    three = good[index - 1 : index + 2] if 0 < index < len(good) - 1 else []
    u = _vertex(three) if three else math.log(best.rate)
    return TunedRate(
        rate=best.rate,
        validation_task_loss=best.validation_task_loss,
        task_loss=best.task_loss,
        pretraining_loss=best.pretraining_loss,
        optimum_rate=math.exp(u),
        optimum_task_loss=_parabola(three, [p.task_loss for p in three], u) if three else best.task_loss,
        optimum_pretraining_loss=(
            _parabola(three, [p.pretraining_loss for p in three], u) if three else best.pretraining_loss
        ),
        neighbours=tuple(p.rate for p in three),
        grid_too_short=_edge(best, grid),
        diverged=len(grid) - len(good),
        rates=len(grid),
    )


def _vertex(three: Sequence[RatePoint]) -> float:
    """ln of the rate where the parabola of validation loss is lowest; the middle one if it has no minimum."""
    x = [math.log(p.rate) for p in three]
    u = parabola_vertex(x, [p.validation_task_loss for p in three])
    return u if math.isfinite(u) else x[1]


def parabola_vertex(x: Sequence[float], y: Sequence[float]) -> float:
    """Where the parabola through three points, x rising, is lowest between the first and the last; nan if it has no
    minimum, or a value is nan."""
    slope, next_slope = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    curvature = (next_slope - slope) / (x[2] - x[0])
    if not curvature > 0:
        return math.nan
    return min(max((x[0] + x[1]) / 2 - slope / (2 * curvature), x[0]), x[2])


def parabola_weights(x: Sequence[float], u: float) -> list[float]:
    """What the values at three x are worth in the value at u of the parabola through them; they sum to 1."""
    return [_lagrange(x, [float(i == place) for i in range(3)], u) for place in range(3)]


def _parabola(three: Sequence[RatePoint], losses: Sequence[float], u: float) -> float:
    """The parabola through (ln rate, loss), at u."""
    return _lagrange([math.log(p.rate) for p in three], losses, u)


def _lagrange(x: Sequence[float], y: Sequence[float], u: float) -> float:
    """Lagrange's parabola through three points, at u."""
    total = 0.0
    for i, value in enumerate(y):
        others = [x[j] for j in range(3) if j != i]
        total += value * (u - others[0]) * (u - others[1]) / ((x[i] - others[0]) * (x[i] - others[1]))
    return total


def _edge(best: RatePoint, grid: Sequence[RatePoint]) -> Edge | None:
    if best is grid[-1]:
        return "high"
    return "low" if best is grid[0] else None
