"""What the tuned rate did over the ladder, and what learning cost: trend, matched learning, frontier."""

from dataclasses import dataclass

from pliant.report.searches import Search, searches
from pliant.report.study import Study, budget_name, capital, phrase
from pliant.statistics import Minimum, RateTrend, Sweep, locate_minimum


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTrend:
    """One fine-tuning sweep: how its best rate moves, and minus the area above its learning-forgetting frontier.

    `area` is in squared nats under a reference common to the checkpoints of a run: the worst task and the worst
    pre-training loss at rates up to the tuned one. None where fewer than two budgets are there, or a search left most
    of them out.
    """

    label: str
    trajectory: str
    members: str
    trend: RateTrend | None
    area: Minimum | None
    words: str


def sweep_trends(study: Study) -> tuple[SweepTrend, ...]:
    """One for each sweep of the study."""
    searched = {id(search.sweep): search for search in searches(study)}
    return tuple(_trend(study, sweep, searched.get(id(sweep))) for sweep in study.sweeps)


def short_grids(study: Study) -> dict[str, set[str]]:
    """Fine-tuning label -> the ends ("low", "high") of its grid at which a best rate sits, or lies beyond: where every
    rate diverged, the grid ends too high."""
    ends: dict[str, set[str]] = {}
    for sweep in study.sweeps:
        if sweep.all_diverged():
            ends.setdefault(sweep.label, set()).add("low")
        for tuned in sweep.tuned().values():
            if tuned.grid_too_short:
                ends.setdefault(sweep.label, set()).add(tuned.grid_too_short)
    return ends


def _trend(study: Study, sweep: Sweep, search: Search | None) -> SweepTrend:
    trend, area = sweep.trend(), _area(sweep) if search is None else None
    place = study.places.get((sweep.trajectory, sweep.members), "")
    head = f"{capital(phrase(sweep.label))}{f' ({place})' if place else ''}"
    parts = [_trend_words(trend), _area_words(area, sweep), search.words if search is not None else ""]
    return SweepTrend(
        label=sweep.label,
        trajectory=sweep.trajectory,
        members=sweep.members,
        trend=trend,
        area=area,
        words=f"{head}: {'; '.join(part for part in parts if part)}.",
    )


def _area(sweep: Sweep) -> Minimum | None:
    curve = sweep.hypervolume()
    return locate_minimum(curve) if len(curve.budgets) > 1 and curve.complete().seeds else None


def _trend_words(trend: RateTrend | None) -> str:
    if trend is None:
        return "too few budgets for a trend of the best rate"
    exponent = trend.exponent
    interval = f" [{exponent.low:+.2f}, {exponent.high:+.2f}]" if exponent.has_interval else ""
    edge = f", {trend.at_edge} optima at an end of the grid" if trend.at_edge else ""
    return f"the best rate goes as tokens^{exponent.value:+.2f}{interval}: {trend.pace}{edge}".replace("-", "−")


def _area_words(area: Minimum | None, sweep: Sweep) -> str:
    if area is None:
        return ""
    return (
        f"the area above the learning-forgetting frontier is largest at {budget_name(area.budget, sweep.names)} "
        f"({abs(area.rise.value):.3f} nats² {'more' if area.rise.value > 0 else 'less'} there than at the last budget)"
        if area.budget != area.last
        else "the area above the learning-forgetting frontier is largest at the last budget"
    )
