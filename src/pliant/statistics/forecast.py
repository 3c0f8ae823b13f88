"""Where the modified model's loss turns, forecast from the law: T* of each noise strength, with its interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE
from pliant.statistics.gaps import GAP_LIMIT_NATS, SUMMARIES, Gaps, Summary, gather_gaps
from pliant.statistics.robust import FEWEST_BUDGETS, Points, RobustFit, require_range, robust_fit, spans_a_decade
from pliant.statistics.scatter import seed_scatter
from pliant.statistics.turning_point import TurningPoint, turning_point

CHOSEN: Summary = "intercept"
"""By benchmarks/forecast_choice.py: docs/forecast.md has the table."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """The robust fit of one trajectory's curves under one kind of noise and the T* that follow.

    `seeds` are those averaged; with one, `conditional` is true and the interval describes scatter around the fit of
    that run. `beyond_limit` are budgets without a usable gap. `interval_method` and `notes` say how to read it.
    """

    fit: RobustFit
    gaps: Gaps
    summary: str
    turning_points: tuple[TurningPoint, ...]
    beyond_limit: tuple[float, ...]
    confidence: float
    interval_method: str
    notes: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.gaps.seeds

    @property
    def conditional(self) -> bool:
        return len(self.seeds) == 1

    @property
    def window(self) -> tuple[float, float]:
        """First and last token budget that the law was fitted to."""
        return float(self.fit.points.budgets[0]), float(self.fit.points.budgets[-1])


def forecast(
    base: Curve,
    modified: Mapping[float, Curve],
    *,
    gammas: Sequence[float] | None = None,
    summary: Summary = CHOSEN,
    confidence: float = CONFIDENCE,
    limit: float = GAP_LIMIT_NATS,
) -> Forecast:
    """Fit L(T, gamma) = E + A T^-alpha + B gamma^2 T^beta robustly and read off T* of each of `gammas`.

    By default these are the measured ones. Base and modified losses in nats. Gaps are averaged over seeds, those beyond
    `limit` are left out, one number a checkpoint is made of the rest (`summary`), the earliest checkpoints are dropped
    while the law does not hold (`robust_fit`). The half-width of ln T* is
    sqrt((t se)^2 + shift^2) with Student's quantile t.

    Checkpoint noise is shared by all gammas; the summary before the fit keeps that from shrinking the interval.

    Raises:
        ValueError: fewer than seven budgets or less than a decade of them, no base, no usable gamma, values that are
            not finite, a gamma that is not positive, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    if base.draws:
        require_range(np.array(base.budgets, dtype=float))
    gaps = gather_gaps(base, modified, limit=limit)
    used, log_costs, notes = _summarise(gaps, summary)
    kept = np.flatnonzero(np.isfinite(log_costs))
    gone = tuple(gaps.budgets[~np.isfinite(log_costs)].tolist())
    if len(kept) < FEWEST_BUDGETS or not spans_a_decade(gaps.budgets[kept]):
        raise ValueError(
            f"gaps within {limit:g} nats are left at {len(kept)} of {len(log_costs)} budgets, and a forecast needs "
            f"{FEWEST_BUDGETS} over one decade; measure smaller gammas"
        )
    some = gaps.at(kept.tolist())
    fit = robust_fit(_points(some, log_costs[kept], used))
    wanted = sorted(set(gammas)) if gammas else sorted(modified)
    return Forecast(
        fit=fit,
        gaps=gaps,
        summary=_summary_words(used, gaps),
        turning_points=tuple(turning_point(g, fit, modified, confidence) for g in wanted),
        beyond_limit=gone,
        confidence=confidence,
        interval_method=_interval_method(fit, gaps, confidence),
        notes=(*notes, *_notes(fit, gaps, wanted, gone)),
    )


def _summarise(gaps: Gaps, summary: Summary) -> tuple[Summary, Float[np.ndarray, " budgets"], tuple[str, ...]]:
    """The summary wanted, or the mean of log D where too few checkpoints have two gammas for an intercept."""
    found = SUMMARIES[summary](gaps.means, gaps.gammas)
    if summary == "mean log" or np.isfinite(found).sum() >= FEWEST_BUDGETS:
        return summary, found, ()
    note = "too few checkpoints have two gammas within the limit for an intercept: the mean of log D was used"
    return "mean log", SUMMARIES["mean log"](gaps.means, gaps.gammas), (note,)


def _points(gaps: Gaps, log_costs: Float[np.ndarray, " budgets"], summary: Summary) -> Points:
    """Means over seeds with errors from the scatter of the seeds, each seed summarised like the mean."""
    base = gaps.base.mean(axis=0)
    if len(gaps.seeds) == 1:
        return Points(budgets=gaps.budgets, base=base, log_cost=log_costs, source="fit")
    used = np.isfinite(gaps.means)
    with np.errstate(invalid="ignore", divide="ignore"):
        single = [np.where(used & (gap > 0), gap, np.nan) for gap in np.moveaxis(gaps.gaps, 1, 0)]
    runs = np.array([SUMMARIES[summary](gap, gaps.gammas) for gap in single])
    runs = runs[:, np.isfinite(runs).all(axis=0)]
    if runs.shape[1] < 3:
        return Points(budgets=gaps.budgets, base=base, log_cost=log_costs, source="fit")
    of_base, of_gap = seed_scatter(gaps.base), seed_scatter(runs)
    return Points(
        budgets=gaps.budgets,
        base=base,
        log_cost=log_costs,
        base_sd=max(of_base.checkpoint_sd, 1e-12),
        log_cost_sd=max(of_gap.checkpoint_sd, 1e-12),
        common_sd=of_gap.common_sd,
        dof=float(min(of_base.dof, of_gap.dof)),
        source="seeds",
    )


def _summary_words(summary: Summary, gaps: Gaps) -> str:
    if len(gaps.gammas) == 1:
        return "D/gamma^2 of the one gamma"
    return "intercept of D/gamma^2 on gamma^2" if summary == "intercept" else "mean of ln(D/gamma^2) over gammas"


def _interval_method(fit: RobustFit, gaps: Gaps, confidence: float) -> str:
    method = f"{100 * confidence:g} %: delta method and rolling-origin shift"
    if fit.points.source == "seeds":
        seeds = f"the scatter of {len(gaps.seeds)} pre-training seeds"
        return f"{method}; errors from {seeds}, pooled over budgets (two-way analysis of variance)"
    return f"{method}; errors from the scatter around the fit, one pre-training run"


def _notes(fit: RobustFit, gaps: Gaps, wanted: Sequence[float], gone: tuple[float, ...]) -> tuple[str, ...]:
    notes = [f"gamma {gamma:g} is not in the fit: {reason}" for gamma, reason in gaps.left_out.items()]
    used, law = gaps.gammas, fit.law
    if len(gaps.seeds) == 1:
        notes.append(
            f"one pre-training seed ({gaps.seeds[0]}): the interval holds for this run only, chi2/dof cannot be tested"
        )
    if not fit.straight:
        notes.append("the law does not describe the window well (curvature or chi2/dof): read T* as exploratory")
    if law.turns and law.beta < 2 * math.sqrt(float(law.covariance[4, 4])):
        notes.append("growth of the gap is not resolved from zero: T* may not exist")
    if law.alpha <= 0:
        notes.append("the base loss shows no floor in the window (alpha <= 0): E and A are not determined, T* is")
    if gone:
        notes.append(f"budgets without enough gaps within {gaps.limit:g} nats: {len(gone)}")
    if outside := [g for g in wanted if not used[0] <= g <= used[-1]]:
        named = ", ".join(f"{g:g}" for g in outside)
        notes.append(f"gamma {named}: outside the strengths fitted ({used[0]:g} to {used[-1]:g}), by the law alone")
    return tuple(notes)
