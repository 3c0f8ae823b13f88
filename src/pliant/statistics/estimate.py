"""A mean with its interval, and what was averaged: over pre-training seeds, draws, or held-out text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Level = Literal["pre-training seeds", "draws", "held-out text"]
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with a two-sided 95 % interval.

    `levels` says whose scatter the interval describes, the replicates it rests on first. Only "pre-training seeds"
    speaks about other runs of the recipe; an interval without that level is conditional on one run. With no level
    a single value was there, and `low`, `high` and `standard_error` are nan. `values[i]` belongs to `seeds[i]`;
    `n` counts the replicates of the first level.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    n: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    levels: tuple[Level, ...]
    method: str

    @property
    def conditional(self) -> bool:
        """Whether the interval, if any, holds for this run only."""
        return "pre-training seeds" not in self.levels

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
    levels: tuple[Level, ...] = (level,) if n > 1 else ()
    return Estimate(
        value=mean,
        low=mean - half,
        high=mean + half,
        standard_error=error,
        degrees_of_freedom=n - 1.0 if levels else math.nan,
        n=n,
        seeds=seeds,
        values=tuple(values) if level == "pre-training seeds" else (mean,),
        levels=levels,
        method=f"95 % t-interval over {counted(levels, n)}" if levels else "one value, no interval",
    )


def counted(levels: tuple[Level, ...], n: int) -> str:
    """What an interval rests on, in words: "3 pre-training seeds and held-out text"."""
    first = {
        "pre-training seeds": f"{n} pre-training seeds",
        "draws": f"{n} draws within one pre-training run",
        "held-out text": f"{n} groups of held-out text within one pre-training run",
    }[levels[0]]
    return " and ".join((first, *levels[1:]))
