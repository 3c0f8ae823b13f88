"""How the tuned rate moves with budget: a slope in log-log, and what to call it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pliant.statistics.curve import At
from pliant.statistics.estimate import Estimate, over_seeds
from pliant.statistics.tuned import TunedRate

Pace = Literal["constant", "slow", "quick", "undecided"]
CONSTANT = 0.1
"""An exponent smaller than this changes the rate by less than 1.26x over a decade of tokens."""
QUICK = 0.5
"""An exponent of at least this changes it by 3.2x or more over a decade."""

MOST_AT_EDGE = 0.1
"""With more than this share of optima at an end of the grid, the grid sets the slope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTrend:
    """The exponent b of rate ~ tokens^b, one least-squares slope a run, and its pace.

    The pace goes by the 95 % interval over runs: "constant" if all of it lies within +-`CONSTANT`, "quick" if all of
    it lies beyond +-`QUICK` on one side, "slow" if it excludes 0 and lies within +-`QUICK`, else "undecided".
    `at_edge` counts the checkpoints whose optimum sits at an end of the grid; more than a tenth leave it open.
    """

    exponent: Estimate
    pace: Pace
    at_edge: int


def rate_trend(tuned: Mapping[At, TunedRate]) -> RateTrend | None:
    """The trend of the interpolated optimum; None if no run was tuned at three budgets or more."""
    slopes: dict[int, float] = {}
    for seed in sorted({seed for seed, _ in tuned}):
        points = [(math.log(b), math.log(t.optimum_rate)) for (s, b), t in sorted(tuned.items()) if s == seed]
        if len(points) >= 3:
            x, y = np.array(points).T
            slopes[seed] = float(((x - x.mean()) @ (y - y.mean())) / ((x - x.mean()) @ (x - x.mean())))
    if not slopes:
        return None
    exponent = over_seeds(slopes)
    edges = sum(t.grid_too_short is not None for t in tuned.values())
    pace = _pace(exponent) if edges <= MOST_AT_EDGE * len(tuned) else "undecided"
    return RateTrend(exponent=exponent, pace=pace, at_edge=edges)


def _pace(exponent: Estimate) -> Pace:
    if not exponent.has_interval:
        return "undecided"
    low, high = exponent.low, exponent.high
    if low >= -CONSTANT and high <= CONSTANT:
        return "constant"
    if low >= QUICK or high <= -QUICK:
        return "quick"
    excludes_zero = low > 0 or high < 0
    return "slow" if excludes_zero and low >= -QUICK and high <= QUICK else "undecided"
