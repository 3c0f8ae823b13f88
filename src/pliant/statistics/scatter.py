"""How much of a curve's scatter belongs to whole runs and how much to single checkpoints."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedScatter:
    """Errors of a mean over pre-training seeds: `checkpoint_sd` of each budget by itself, `common_sd` of all at once.

    `dof` stands behind `checkpoint_sd`.
    """

    checkpoint_sd: float
    common_sd: float
    dof: int


def seed_scatter(values: Float[np.ndarray, "seeds budgets"]) -> SeedScatter:
    """Two-way analysis of variance of `values` (S, K) without replication.

    With r the residuals after removing the means of seeds and of budgets, s^2 = sum r^2 / ((S-1)(K-1)) is the variance
    of a checkpoint, pooled over budgets, and max(0, MS_seeds - s^2) / K that of a run as a whole; each is divided by S
    for the mean.

    Raises:
        ValueError: fewer than two seeds or two budgets.
    """
    seeds, budgets = values.shape
    if min(seeds, budgets) < 2:
        raise ValueError(f"scatter over seeds needs two seeds and two budgets or more; got {seeds} and {budgets}")
    runs = values.mean(axis=1, keepdims=True)
    residual = values - runs - values.mean(axis=0, keepdims=True) + values.mean()
    dof = (seeds - 1) * (budgets - 1)
    single = float(np.sum(residual**2)) / dof
    whole = budgets * float(np.sum((runs - values.mean()) ** 2)) / (seeds - 1)
    common = max(0.0, whole - single) / budgets
    return SeedScatter(checkpoint_sd=math.sqrt(single / seeds), common_sd=math.sqrt(common / seeds), dof=dof)
