"""Paired gaps of several noise strengths, and their summary over strengths at each checkpoint."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from pliant.statistics.curve import Curve
from pliant.statistics.sensitivity import sensitivity

Summary = Literal["intercept", "mean log"]
GAP_LIMIT_NATS = 0.3
"""A larger gap is not used: the gap is quadratic in gamma only while it is small (a rule of thumb)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaps:
    """Base losses `base` (S, K) and gaps `gaps` (G, S, K), nats, of S runs at K budgets under G strengths.

    `within` (G, K) marks the gaps whose mean over seeds is at most the limit; the others are not used. `left_out`
    names the strengths that were given and not used at all, with the reason.
    """

    budgets: Float[np.ndarray, " budgets"]
    seeds: tuple[int, ...]
    gammas: Float[np.ndarray, " gammas"]
    base: Float[np.ndarray, "seeds budgets"]
    gaps: Float[np.ndarray, "gammas seeds budgets"]
    limit: float
    left_out: Mapping[float, str]

    @property
    def means(self) -> Float[np.ndarray, "gammas budgets"]:
        """Mean gaps over seeds, nan where beyond the limit."""
        mean = self.gaps.mean(axis=1)
        return np.where(mean <= self.limit, mean, np.nan)

    def at(self, budgets: Sequence[int]) -> "Gaps":
        """The same at some of the budgets, by place."""
        some = list(budgets)
        return Gaps(
            budgets=self.budgets[some],
            seeds=self.seeds,
            gammas=self.gammas,
            base=self.base[:, some],
            gaps=self.gaps[:, :, some],
            limit=self.limit,
            left_out=self.left_out,
        )


def gather_gaps(base: Curve, modified: Mapping[float, Curve], *, limit: float = GAP_LIMIT_NATS) -> Gaps:
    """Gaps of the seeds measured at every budget of `base`, under every strength of `modified` (gamma -> curve).

    A strength is left out as a whole if a mean gap is not positive (its logarithm is fitted, and leaving out single
    points would select the lucky ones) or if it is beyond `limit` at every budget.

    Raises:
        ValueError: no base, no strength, a strength that is not positive, a loss that is not finite, no seed
            measured everywhere, or no strength left.
    """
    if not base.draws:
        raise ValueError("no base loss was given: measure the unmodified checkpoints (modification none) too")
    if not modified:
        raise ValueError("no gamma was given: measure noise at one strength or more, several are better")
    gammas = sorted(modified)
    if not all(0 < gamma < math.inf for gamma in gammas):
        raise ValueError(f"gammas must be positive numbers; got {', '.join(f'{g:g}' for g in gammas)}")
    differences = {gamma: sensitivity(modified[gamma], base) for gamma in gammas}
    budgets = base.budgets
    wanted = [base, *differences.values()]
    seeds = [s for s in base.seeds if all((s, b) in curve.draws for curve in wanted for b in budgets)]
    if not seeds:
        raise ValueError(
            f"no pre-training seed has its base and all {len(gammas)} gammas measured at all {len(budgets)} budgets; "
            "finish the study"
        )
    losses = np.array([[base.value(seed, b) for b in budgets] for seed in seeds])
    gaps = np.array([[[differences[g].value(seed, b) for b in budgets] for seed in seeds] for g in gammas])
    if not (np.all(np.isfinite(losses)) and np.all(np.isfinite(gaps))):
        raise ValueError("a loss is not finite; leave that checkpoint or that gamma out")
    left_out = {g: reason for g, gap in zip(gammas, gaps, strict=True) if (reason := _unusable(gap, budgets, limit))}
    kept = [place for place, gamma in enumerate(gammas) if gamma not in left_out]
    if not kept:
        reasons = "; ".join(f"gamma {gamma:g}: {reason}" for gamma, reason in left_out.items())
        raise ValueError(f"no gamma can be used ({reasons}); measure others between them")
    return Gaps(
        budgets=np.array(budgets, dtype=float),
        seeds=tuple(seeds),
        gammas=np.array(gammas)[kept],
        base=losses,
        gaps=gaps[kept],
        limit=limit,
        left_out=left_out,
    )


def _unusable(gap: Float[np.ndarray, "seeds budgets"], budgets: tuple[float, ...], limit: float) -> str:
    mean = gap.mean(axis=0)
    if np.any(mean <= 0):
        place = int(np.argmin(mean))
        return f"its gap at {budgets[place]:g} tokens is {mean[place]:.2g} nats, and the log scale needs positive gaps"
    if np.all(mean > limit):
        return f"all its gaps are beyond {limit:g} nats"
    return ""


def mean_log(
    D: Float[np.ndarray, "gammas budgets"], gamma: Float[np.ndarray, " gammas"]
) -> Float[np.ndarray, " budgets"]:
    """Mean over gammas of ln(D / gamma^2) at each checkpoint, nan entries left out; nan where none is left.

    Removes nothing of a gamma^4 term; its noise is the checkpoint's own and 1 / sqrt(G) of the rest.
    """
    logs = np.log(D / gamma[:, None] ** 2)
    found = np.isfinite(logs)
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.where(found, logs, 0.0).sum(axis=0) / np.where(found.any(axis=0), found.sum(axis=0), np.nan)
        )


def intercept(
    D: Float[np.ndarray, "gammas budgets"], gamma: Float[np.ndarray, " gammas"]
) -> Float[np.ndarray, " budgets"]:
    """ln of the intercept of D / gamma^2 on gamma^2 at each checkpoint, for equal relative errors of D.

    Exact for D = B gamma^2 + C gamma^4, whatever C is. nan with fewer than two gammas or without a positive intercept.
    """
    return np.array([_intercept(column, gamma) for column in D.T])


def _intercept(D: Float[np.ndarray, " gammas"], gamma: Float[np.ndarray, " gammas"]) -> float:
    use = np.isfinite(D)
    if use.sum() < 2:
        return math.nan
    squares, y = gamma[use] ** 2, D[use] / gamma[use] ** 2
    design = np.column_stack([np.ones_like(squares), squares]) / y[:, None]  # weights 1 / y^2: equal relative errors
    solution = np.linalg.lstsq(design, np.ones_like(y), rcond=None)[0]
    return math.log(solution[0]) if solution[0] > 0 else math.nan


SUMMARIES: Mapping[
    Summary,
    Callable[[Float[np.ndarray, "gammas budgets"], Float[np.ndarray, " gammas"]], Float[np.ndarray, " budgets"]],
] = {"intercept": intercept, "mean log": mean_log}
