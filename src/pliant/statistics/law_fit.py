"""The law fitted to base losses and gaps by weighted least squares."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pliant.statistics.law import PerturbedLaw, base_jacobian, fallen

PARAMETERS = 5
"""Of the law: three of the base loss, two of the gap."""
FEWEST_BASE = 4
"""Budgets that the three parameters of the base loss need to leave a degree of freedom."""

_ALPHAS = np.arange(-1.98, 6.0, 0.05)[:, None]  # none is 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Line:
    """Weighted least squares: parameters, covariance for the weights given, and chi2."""

    values: Float[np.ndarray, " parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]
    chi2: float

    @classmethod
    def fit(
        cls,
        design: Float[np.ndarray, "points parameters"],
        y: Float[np.ndarray, " points"],
        sd: Float[np.ndarray, " points"],
    ) -> "_Line":
        covariance = np.linalg.inv(design.T @ (design / sd[:, None] ** 2))
        values = covariance @ (design.T @ (y / sd**2))
        return cls(values=values, covariance=covariance, chi2=float(np.sum(((y - design @ values) / sd) ** 2)))


def fit_law(
    T: Float[np.ndarray, " budgets"],
    L0: Float[np.ndarray, " budgets"],
    D: Float[np.ndarray, "gammas budgets"],
    gamma: Float[np.ndarray, " gammas"],
    sd0: Float[np.ndarray, " budgets"],
    sd_log_D: Float[np.ndarray, "gammas budgets"],
    *,
    common_sd: float = 0.0,
) -> PerturbedLaw:
    """Fit the law to base losses L0 (nats) and paired gaps D = L(T, gamma) - L(T, 0) (nats) on the log scale.

    Weighted least squares: L0 by variable projection over alpha, ln(D / gamma^2) by a line in ln T. The two share
    no parameter, so this is the joint fit if errors of L0 and ln D are independent. D may hold nan: left out.
    `common_sd` is the standard deviation of an error of ln D shared by all budgets: it goes into the variance of
    log_cost. Gaps of several gammas enter as if independent; where checkpoints scatter, summarise them over gamma
    first (`pliant.statistics.gaps`), or the interval is too short.

    Raises:
        ValueError: fewer than four budgets, budgets that do not rise, a value that is not finite, a gap that is not
            positive, or too few gaps for the line.
    """
    _check(T, L0, D, gamma, sd0, sd_log_D)
    center = float(np.exp(np.mean(np.log(T))))
    x = np.log(T / center)
    base = _fit_base(x, L0, sd0)
    where = np.isfinite(D)
    gap = _fit_gap(np.broadcast_to(x, D.shape)[where], np.log((D / gamma[:, None] ** 2)[where]), sd_log_D[where])
    covariance = np.zeros((PARAMETERS, PARAMETERS))
    covariance[:3, :3], covariance[3:, 3:] = base.covariance, gap.covariance
    covariance[3, 3] += common_sd**2
    level, slope, alpha = base.values.tolist()
    log_cost, beta = gap.values.tolist()
    return PerturbedLaw(
        center=center,
        level=level,
        slope=slope,
        alpha=alpha,
        log_cost=log_cost,
        beta=beta,
        covariance=covariance,
        chi2=base.chi2 + gap.chi2,
        dof=len(T) + int(where.sum()) - PARAMETERS,
    )


def curvature_z(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], sd: Float[np.ndarray, " points"]
) -> float:
    """The quadratic coefficient of y in x over its standard error: a straight line has |z| < 2 mostly."""
    fit = _Line.fit(np.column_stack([np.ones_like(x), x, x**2]), y, sd)
    return float(fit.values[2] / math.sqrt(fit.covariance[2, 2]))


def _fit_gap(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], sd: Float[np.ndarray, " points"]
) -> _Line:
    return _Line.fit(np.column_stack([np.ones_like(x), x]), y, sd)


def _fit_base(
    x: Float[np.ndarray, " budgets"], y: Float[np.ndarray, " budgets"], sd: Float[np.ndarray, " budgets"]
) -> _Line:
    """(level, slope, alpha): a scan over alpha, then Gauss-Newton with halved steps."""

    def given(alpha: float) -> _Line:
        return _Line.fit(np.column_stack([np.ones_like(x), -fallen(x, alpha)]), y, sd)

    alpha = _scan(x, y, sd)
    best = given(alpha)
    for _ in range(60):
        residual = y - best.values[0] + best.values[1] * fallen(x, alpha)
        step = float(_Line.fit(base_jacobian(x, float(best.values[1]), alpha), residual, sd).values[2])
        while abs(step) > 1e-10 and given(alpha + step).chi2 > best.chi2:
            step /= 2
        if abs(step) <= 1e-10:
            break
        alpha += step
        best = given(alpha)
    jacobian = base_jacobian(x, float(best.values[1]), alpha)
    covariance = np.linalg.inv(jacobian.T @ (jacobian / sd[:, None] ** 2))
    return _Line(values=np.append(best.values, alpha), covariance=covariance, chi2=best.chi2)


def _scan(
    x: Float[np.ndarray, " budgets"], y: Float[np.ndarray, " budgets"], sd: Float[np.ndarray, " budgets"]
) -> float:
    """The alpha of a coarse grid that leaves the least chi2, for all of them at once: Syy - Shy^2 / Shh."""
    weight = sd**-2 / np.sum(sd**-2)
    falls = -np.expm1(-_ALPHAS * x) / _ALPHAS
    falls -= (falls @ weight)[:, None]
    explained = (falls @ (weight * (y - y @ weight))) ** 2 / (falls**2 @ weight)
    return float(_ALPHAS[np.argmax(explained), 0])


def _check(
    T: Float[np.ndarray, " budgets"],
    L0: Float[np.ndarray, " budgets"],
    D: Float[np.ndarray, "gammas budgets"],
    gamma: Float[np.ndarray, " gammas"],
    sd0: Float[np.ndarray, " budgets"],
    sd_log_D: Float[np.ndarray, "gammas budgets"],
) -> None:
    if len(T) < FEWEST_BASE:
        raise ValueError(f"{len(T)} budgets were given; the law has three parameters for the base: give four or more")
    if not (np.all(np.isfinite(T)) and T[0] > 0 and np.all(np.diff(T) > 0)):
        raise ValueError(f"budgets must be positive and rise, each once; got {_listed(T)}")
    if not np.all(np.isfinite(L0)):
        raise ValueError(f"the base loss is not finite at {_listed(T[~np.isfinite(L0)])} tokens; measure it there")
    if not np.all((gamma > 0) & np.isfinite(gamma)):
        raise ValueError(f"gammas must be positive numbers; got {_listed(gamma)}")
    if np.any(D <= 0) or np.any(np.isinf(D)):
        raise ValueError(
            "a gap is not positive and finite, and its logarithm is fitted; leave that gamma out or add draws"
        )
    if not (np.all(sd0 > 0) and np.all(sd_log_D[np.isfinite(D)] > 0)):
        raise ValueError("every standard deviation must be positive")
    if np.isfinite(D).any(axis=0).sum() < 3:
        raise ValueError("gaps are left at fewer than three budgets; the growth of the gap needs three or more")


def _listed(values: Float[np.ndarray, " any"]) -> str:
    return ", ".join(f"{value:g}" for value in values.tolist())
