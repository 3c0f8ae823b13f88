"""The law fitted to the part of the ladder that it describes, and how much the answer moves when the end is hidden."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from pliant.statistics.law import PerturbedLaw
from pliant.statistics.law_fit import curvature_z, fit_law

FEWEST_BUDGETS = 7
SMALLEST_SPAN = 10.0
LARGEST_Z = 2.0
LARGEST_CHI2 = 2.0
EARLY_SHARE = 0.7

Source = Literal["seeds", "fit", "given"]
"""Where the errors come from: scatter over pre-training seeds, scatter around the fit (one seed), or the caller."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """One base loss (nats) and one ln(D / gamma^2) a checkpoint, (K,) each, with their standard deviations.

    `common_sd` is the error of ln(D / gamma^2) that all checkpoints share. `dof` stands behind the standard deviations,
    infinite where they are known. With `source` "fit" they are not used but estimated anew in every fit.
    """

    budgets: Float[np.ndarray, " budgets"]
    base: Float[np.ndarray, " budgets"]
    log_cost: Float[np.ndarray, " budgets"]
    base_sd: float = 1.0
    log_cost_sd: float = 1.0
    common_sd: float = 0.0
    dof: float = math.inf
    source: Source = "given"

    def part(self, start: int, stop: int | None = None) -> "Points":
        """The checkpoints from place `start` up to `stop`."""
        some = slice(start, stop)
        return replace(self, budgets=self.budgets[some], base=self.base[some], log_cost=self.log_cost[some])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RobustFit:
    """The law on `points` (the window), what was dropped before it, and the fit of its first 70 % (`early`).

    `curvature_z` is that of ln(D / gamma^2) in ln T; `chi2_per_dof` is nan where errors come from the fit itself.
    `straight` says whether the window met |z| < 2 and chi2/dof < 2, or was the smallest allowed.
    """

    points: Points
    dropped: tuple[float, ...]
    law: PerturbedLaw
    early: PerturbedLaw
    curvature_z: float
    chi2_per_dof: float
    straight: bool

    def rolling_shift(self, gamma: float) -> float:
        """|ln T*(window) - ln T*(first 70 %)|; infinite where one of them does not turn."""
        now, before = self.law.t_star(gamma), self.early.t_star(gamma)
        if not (0 < now < math.inf and 0 < before < math.inf):
            return math.inf
        return abs(math.log(now / before))

    def standard_error(self, gamma: float) -> float:
        """Of ln T*, widened by sqrt(chi2/dof) where that exceeds 1."""
        inflation = math.sqrt(max(1.0, self.chi2_per_dof)) if math.isfinite(self.chi2_per_dof) else 1.0
        return inflation * self.law.log_t_star_se(gamma)


def require_range(budgets: Float[np.ndarray, " budgets"]) -> None:
    """Raise unless there are seven budgets over one decade: with less the exponents are not identified.

    Raises:
        ValueError: fewer than seven budgets, or the last less than ten times the first.
    """
    if len(budgets) < FEWEST_BUDGETS:
        raise ValueError(
            f"a forecast needs {FEWEST_BUDGETS} token budgets or more, and {len(budgets)} can be used; add budgets"
        )
    if not spans_a_decade(budgets):
        raise ValueError(
            f"a forecast needs budgets over one decade or more; these run from {budgets[0]:g} to {budgets[-1]:g} "
            f"tokens, a factor {budgets[-1] / budgets[0]:.3g}; add smaller or larger ones"
        )


def robust_fit(points: Points) -> RobustFit:
    """The law on the points left when the earliest are dropped until |curvature z| < 2 and chi2/dof < 2.

    Seven are kept in any case. The curvature is that of ln(D / gamma^2) in ln T, a straight line under the law; chi2 is
    over base and gaps together. The first 70 % of the window are fitted again for the rolling-origin shift.

    Raises:
        ValueError: see `require_range` and `fit_law`.
    """
    require_range(points.budgets)
    last = len(points.budgets) - FEWEST_BUDGETS
    for start in range(last + 1):
        window = with_errors(points.part(start))
        law = fit_points(window)
        z = curvature_z(np.log(window.budgets), window.log_cost, _all(window.log_cost_sd, window))
        chi2 = math.nan if points.source == "fit" else law.chi2 / law.dof
        straight = abs(z) < LARGEST_Z and not chi2 >= LARGEST_CHI2
        if straight:
            break
    first = max(5, math.ceil(EARLY_SHARE * len(window.budgets)))
    return RobustFit(
        points=window,
        dropped=tuple(points.budgets[:start].tolist()),
        law=law,
        early=fit_points(window.part(0, first)),
        curvature_z=z,
        chi2_per_dof=chi2,
        straight=straight,
    )


def fit_points(points: Points) -> PerturbedLaw:
    """`fit_law` of summarised gaps, which stand for gamma = 1."""
    return fit_law(
        points.budgets,
        points.base,
        np.exp(points.log_cost)[None, :],
        np.ones(1),
        _all(points.base_sd, points),
        _all(points.log_cost_sd, points)[None, :],
        common_sd=points.common_sd,
    )


def with_errors(points: Points) -> Points:
    """With `source` "fit", standard deviations from the scatter around the law (base) and around a parabola (gap)."""
    if points.source != "fit":
        return points
    law, n, x = fit_points(replace(points, base_sd=1.0)), len(points.budgets), np.log(points.budgets)
    base = math.sqrt(float(np.sum((points.base - law.predict(points.budgets)) ** 2)) / (n - 3))
    bent = points.log_cost - np.polyval(np.polyfit(x - x.mean(), points.log_cost, 2), x - x.mean())
    gap = math.sqrt(float(np.sum(bent**2)) / (n - 3))
    tiny = 1e-12
    return replace(points, base_sd=max(base, tiny), log_cost_sd=max(gap, tiny), dof=float(n - 3))


def _all(sd: float, points: Points) -> Float[np.ndarray, " budgets"]:
    return np.full(len(points.budgets), sd)


def spans_a_decade(budgets: Float[np.ndarray, " budgets"]) -> bool:
    """Whether the last budget is ten times the first."""
    return bool(budgets[-1] >= SMALLEST_SPAN * budgets[0] * (1 - 1e-9))
