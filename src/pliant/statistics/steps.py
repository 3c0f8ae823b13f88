"""Does a quantity rise at every step of the ladder: simultaneous intervals for the differences between neighbours."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE, Level
from pliant.statistics.levels import replicates
from pliant.statistics.lowest import Rows, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """value(after) - value(before), with an interval that holds together with those of all other steps."""

    before: float
    after: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """All steps of one curve; all intervals together hold with 95 % probability."""

    steps: tuple[Step, ...]
    levels: tuple[Level, ...]
    method: str

    @property
    def up(self) -> int:
        """How many steps are shown to rise."""
        return sum(step.low > 0 for step in self.steps)

    @property
    def down(self) -> int:
        """How many steps are shown to fall."""
        return sum(step.high < 0 for step in self.steps)


def steps(curve: Curve) -> Steps:
    """Differences of neighbouring budgets with Bonferroni-adjusted t-intervals over replicates.

    Each step has its own standard error, so noise may change along the ladder; the level is shared among the steps.
    With two runs that takes t(.995, 1) = 64 standard errors for five steps: two runs cannot carry this question,
    and the draws of one run can, for that run.

    Raises:
        ValueError: fewer than two budgets, or no seed was measured at all of them.
    """
    whole, budgets = curve.complete(), curve.budgets
    if len(budgets) < 2 or not whole.seeds:
        raise ValueError(f"steps need a run measured at two budgets or more; budgets: {len(budgets)}")
    found = replicates(whole)
    means = np.diff(whole.values().mean(axis=0))
    half = np.full(means.shape, math.nan)
    if found.levels:
        _, half = step_intervals(found.rows, found.text)
    return Steps(
        steps=tuple(
            Step(before=budgets[k], after=budgets[k + 1], value=float(m), low=float(m - h), high=float(m + h))
            for k, (m, h) in enumerate(zip(means, half, strict=True))
        ),
        levels=found.levels,
        method="simultaneous 95 % t-intervals, Bonferroni" if found.levels else "one value, no interval",
    )


def step_intervals(rows: Rows, text: Text | None) -> tuple[np.ndarray, np.ndarray]:
    """(mean, half-width) of every step, (..., budgets - 1): all intervals together hold with 95 % probability.

    With two sources the squared half-widths add, each with its own t quantile: Welch's degrees of freedom are too
    many for quantiles as far out as Bonferroni's with two runs (92 % coverage, docs/calibration.md has this one's).
    """
    differences = np.diff(rows, axis=-1)
    squared = _squared_half_width(differences)
    if text is not None:
        squared = squared + _squared_half_width(np.diff(text, axis=-1))
    return differences.mean(axis=-2), np.asarray(np.sqrt(squared))


def _squared_half_width(differences: Float[np.ndarray, "*batch n steps"]) -> np.ndarray:
    n, steps = differences.shape[-2:]
    quantile = stdtrit(n - 1, 1 - (1 - CONFIDENCE) / (2 * steps))
    return np.asarray(quantile**2 * differences.var(axis=-2, ddof=1) / n)
