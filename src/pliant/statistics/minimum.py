"""Where a curve is lowest over the budgets, which budgets may be lowest, and how far the last lies above the best."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE, Estimate, counted
from pliant.statistics.levels import Replicates, replicates
from pliant.statistics.lowest import above_lowest

Kind = Literal["interior", "none in range", "before range", "plateau"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a verdict goes by: one-sided 95 % bounds of the rise, and the p-value of "it is at most zero".

    The rise is at most zero wherever the loss never rises with budget, so `p` tests that too. nan where there is
    nothing to test with.
    """

    at_least: float
    at_most: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedMinimum:
    """Where one run is lowest, and its own last budget above its own best earlier one (by its draws and text)."""

    seed: int
    budget: float
    rise: Estimate
    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The minimiser of the expected curve, and how far the last budget lies above the best earlier one.

    Between budgets the curve is taken as linear in log tokens, so its minimum lies at a budget. `kind`: "plateau" if
    other budgets lie within one standard error of the lowest (`near` lists them all), else by where the lowest is.
    `candidates` are the budgets that may be lowest: each is left out only if it lies above the lowest of the others
    at the 5 % level, so that the set holds the true minimiser with 95 % probability (all budgets where there is
    nothing to test with).

    `against` is the lowest of the budgets before the last. `rise` is the last minus it, negative where the curve
    still falls; its value is the difference of means and its 95 % interval is corrected for the choice of the
    lowest, so that it need not be centred.
    """

    budgets: tuple[float, ...]
    budget: float
    kind: Kind
    near: tuple[float, ...]
    candidates: tuple[float, ...]
    against: float
    rise: Estimate
    bounds: Bounds
    seeds: tuple[SeedMinimum, ...]

    @property
    def last(self) -> float:
        return self.budgets[-1]

    @property
    def interval(self) -> tuple[float, float]:
        """First and last candidate; 0 where it may lie before the range, infinity where it may lie after it."""
        low = 0.0 if self.budgets[0] in self.candidates else min(self.candidates)
        high = math.inf if self.last in self.candidates else max(self.candidates)
        return low, high


def locate_minimum(curve: Curve) -> Minimum:
    """The minimum of the mean curve over the seeds measured at every budget.

    Raises:
        ValueError: fewer than two budgets, or no seed was measured at all of them.
    """
    whole, budgets = curve.complete(), curve.budgets
    if len(budgets) < 2:
        raise ValueError(f"a minimum over budgets needs two budgets or more; {len(budgets)} was measured")
    if not whole.seeds:
        raise ValueError(f"no pre-training seed was measured at all {len(budgets)} budgets; finish the study")
    mean = whole.mean()
    found = replicates(whole)
    lowest = min(budgets, key=lambda budget: mean[budget])
    near = _near(found, budgets, lowest)
    rise, bounds = _rise(whole, found)
    return Minimum(
        budgets=budgets,
        budget=lowest,
        kind=_kind(lowest, near, budgets),
        near=near,
        candidates=_candidates(found, budgets),
        against=min(budgets[:-1], key=lambda budget: mean[budget]),
        rise=rise,
        bounds=bounds,
        seeds=tuple(_of_seed(whole.of_seed(seed)) for seed in whole.seeds),
    )


def _of_seed(curve: Curve) -> SeedMinimum:
    (seed,) = curve.seeds
    rise, bounds = _rise(curve, replicates(curve))
    lowest = min(curve.budgets, key=lambda budget: curve.value(seed, budget))
    return SeedMinimum(seed=seed, budget=lowest, rise=rise, bounds=bounds)


def _rise(curve: Curve, found: Replicates) -> tuple[Estimate, Bounds]:
    mean = list(curve.mean().values())
    values = curve.values()
    n = found.rows.shape[0]
    estimate = Estimate(
        value=mean[-1] - min(mean[:-1]),
        low=math.nan,
        high=math.nan,
        standard_error=math.nan,
        degrees_of_freedom=math.nan,
        n=n,
        seeds=curve.seeds,
        values=tuple((values[:, -1] - values[:, :-1].min(axis=1)).tolist()),
        levels=found.levels,
        method="one value, no interval",
    )
    if not found.levels:
        return estimate, Bounds(at_least=math.nan, at_most=math.nan, p=math.nan)
    above = above_lowest(found.rows, found.text, len(mean) - 1)
    estimate = replace(
        estimate,
        low=float(above.lower(0.5 + CONFIDENCE / 2)),
        high=float(above.upper(0.5 + CONFIDENCE / 2)),
        standard_error=float(above.standard_error),
        degrees_of_freedom=float(above.degrees_of_freedom),
        method=f"95 % interval, cross-fitted choice of the lowest, t over {counted(found.levels, n)}",
    )
    bounds = Bounds(
        at_least=float(above.at_least()),
        at_most=float(above.at_most()),
        p=float(above.p()),
    )
    return estimate, bounds


def _near(found: Replicates, budgets: tuple[float, ...], lowest: float) -> tuple[float, ...]:
    """The budgets within one standard error of the lowest, of the difference between the two."""
    if not found.levels:
        return (lowest,)
    place = budgets.index(lowest)
    above = above_lowest(found.rows, found.text, place)
    others = [budget for budget in budgets if budget != lowest]
    close = {b for b, gap, error in zip(others, -above.gaps, above.gap_errors, strict=True) if gap <= error}
    return tuple(budget for budget in budgets if budget == lowest or budget in close)


def _candidates(found: Replicates, budgets: tuple[float, ...]) -> tuple[float, ...]:
    if not found.levels:
        return budgets
    return tuple(budgets[k] for k in np.flatnonzero(candidate_minima(found.rows, found.text)))


def candidate_minima(rows: np.ndarray, text: np.ndarray | None) -> np.ndarray:
    """Which budgets may be lowest: those not above the lowest of the others at the 5 % level. Shape (..., budgets).

    The budget of lowest mean is always among them.
    """
    tests = above_lowest(_each_first(rows), None if text is None else _each_first(text), 0)
    means = rows.mean(axis=-2)
    return np.asarray((tests.at_least() <= 0) | (means == means.min(axis=-1, keepdims=True)))


def _each_first(rows: np.ndarray) -> np.ndarray:
    """The rows with each budget in turn before the others, shape (..., budgets, n, budgets): hundreds of budgets are
    tested in one call."""
    budgets = range(rows.shape[-1])
    orders = np.array([[first, *(k for k in budgets if k != first)] for first in budgets])
    return np.ascontiguousarray(np.moveaxis(rows[..., orders], -2, -3))


def _kind(lowest: float, near: tuple[float, ...], budgets: tuple[float, ...]) -> Kind:
    if len(near) > 1:
        return "plateau"
    if lowest == budgets[-1]:
        return "none in range"
    return "before range" if lowest == budgets[0] else "interior"
