"""A mean with its interval, and what was averaged: over pre-training seeds, or over draws within one run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Level = Literal["pre-training seeds", "draws", "none"]
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with a two-sided 95 % interval.

    `level` says whose scatter the interval describes. Only "pre-training seeds" speaks about other runs of
    the recipe; "draws" is conditional on one run; "none" means that a single value was there and `low`,
    `high` and `standard_error` are nan. `values[i]` belongs to `seeds[i]`.
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    level: Level
    method: str

    @property
    def conditional(self) -> bool:
        """Whether the interval, if any, holds for this run only."""
        return self.level != "pre-training seeds"

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def over_seeds(values: Mapping[int, float]) -> Estimate:
    """Mean over pre-training seeds with mean +- t(.975, n-1) s / sqrt(n); a single seed has no interval.

    Raises:
        ValueError: no value was given.
    """
    seeds = tuple(sorted(values))
    return _estimate([values[seed] for seed in seeds], seeds, "pre-training seeds")


def over_draws(values: Sequence[float], *, seed: int) -> Estimate:
    """Mean over the draws of one run, with a t-interval that is conditional on that run.

    An antithetic pair enters as one draw.

    Raises:
        ValueError: no value was given.
    """
    return _estimate(list(values), (seed,), "draws")


def _estimate(values: list[float], seeds: tuple[int, ...], level: Level) -> Estimate:
    if not values:
        raise ValueError("an estimate needs at least one value, and none was given")
    n = len(values)
    mean = math.fsum(values) / n
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error if n > 1 else math.nan
    reached: Level = level if n > 1 else "none"
    return Estimate(
        value=mean,
        low=mean - half,
        high=mean + half,
        standard_error=error,
        n=n,
        seeds=seeds,
        values=tuple(values) if level == "pre-training seeds" else (mean,),
        level=reached,
        method=_method(reached, n),
    )


def _method(level: Level, n: int) -> str:
    if level == "none":
        return "one value, no interval"
    what = "pre-training seeds" if level == "pre-training seeds" else "draws within one pre-training run"
    return f"95 % t-interval over {n} {what}"
