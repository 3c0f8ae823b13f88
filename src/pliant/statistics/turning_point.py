"""T* of one noise strength with its interval, how far it lies, and the minimum that was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtrit

from pliant.statistics.curve import Curve
from pliant.statistics.robust import RobustFit
from pliant.statistics.vertex import Vertex, locate_vertex

EXTRAPOLATION = 1.5
NOT_REACHED = 3.0
"""T* / T_max beyond which a forecast is called extrapolation, or not reached."""

Reach = Literal["in range", "past the last budget", "extrapolation", "not reached", "before the first budget", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurningPoint:
    """T* of one gamma, tokens, with [low, high]; nan where there is none.

    `standard_error` is that of ln T*, `shift` the rolling-origin shift of ln T*, `ratio` T* / T_max with T_max the
    window's last budget. `found` is the minimum of the measured curve itself, where the gamma was measured and its
    minimum is interior. `reason` says why there is no T* or no interval.
    """

    gamma: float
    t_star: float
    low: float
    high: float
    standard_error: float
    shift: float
    ratio: float
    reach: Reach
    found: Vertex | None
    measured: bool
    reason: str

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def turning_point(gamma: float, fit: RobustFit, modified: Mapping[float, Curve], confidence: float) -> TurningPoint:
    """T* of `gamma` under `fit`; `modified` holds the measured curves, for the minimum found in them."""
    t_star, shift = fit.law.t_star(gamma), fit.rolling_shift(gamma)
    error, last = fit.standard_error(gamma), float(fit.points.budgets[-1])
    half = math.hypot(_quantile(confidence, fit.points.dof) * error, shift)
    factor = math.exp(half) if half < 300 else math.nan
    known = 0 < t_star < math.inf and math.isfinite(factor)
    return TurningPoint(
        gamma=gamma,
        t_star=t_star,
        low=t_star / factor if known else math.nan,
        high=t_star * factor if known else math.nan,
        standard_error=error,
        shift=shift,
        ratio=t_star / last,
        reach=_reach(t_star, float(fit.points.budgets[0]), last),
        found=locate_vertex(modified[gamma]) if gamma in modified else None,
        measured=gamma in modified,
        reason=_reason(fit, t_star, shift),
    )


def _quantile(confidence: float, dof: float) -> float:
    return float(stdtrit(min(dof, 1e9), 0.5 + confidence / 2))


def _reach(t_star: float, first: float, last: float) -> Reach:
    if math.isnan(t_star):
        return "none"
    if t_star > NOT_REACHED * last:
        return "not reached"
    if t_star > EXTRAPOLATION * last:
        return "extrapolation"
    if t_star > last:
        return "past the last budget"
    return "in range" if t_star >= first else "before the first budget"


def _reason(fit: RobustFit, t_star: float, shift: float) -> str:
    if math.isnan(t_star):
        return "the base loss does not fall over the window"
    if math.isinf(t_star):
        return (
            "the gap does not grow with the token budget"
            if fit.law.beta <= 0
            else "the gap never outgrows the base's fall"
        )
    return "the first 70 % of the window alone shows no turn, so the interval is open" if math.isinf(shift) else ""
