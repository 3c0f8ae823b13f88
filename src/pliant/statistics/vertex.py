"""Where a measured curve is lowest, between the budgets: the vertex of a parabola through the lowest three."""

import math
from dataclasses import dataclass

from pliant.statistics.curve import Curve
from pliant.statistics.minimum import locate_minimum


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """The lowest budget of the mean curve, its neighbours, and the parabola's lowest point between them, in tokens."""

    lowest: float
    below: float
    above: float
    tokens: float


def locate_vertex(curve: Curve) -> Vertex | None:
    """The vertex of the parabola in ln T through the lowest budget of the mean curve and its two neighbours.

    None where the curve is lowest at its first or last budget.

    Raises:
        ValueError: see `locate_minimum`.
    """
    minimum = locate_minimum(curve)
    if minimum.budget in (minimum.budgets[0], minimum.last):
        return None
    mean = curve.complete().mean()
    budgets = sorted(mean)
    place = budgets.index(minimum.budget)
    below, lowest, above = budgets[place - 1 : place + 2]
    left, right = math.log(below / lowest), math.log(above / lowest)
    fall, rise = mean[below] - mean[lowest], mean[above] - mean[lowest]
    bend = (fall / left - rise / right) / (left - right)
    slope = fall / left - bend * left
    return Vertex(lowest=lowest, below=below, above=above, tokens=lowest * math.exp(-slope / (2 * bend)))
