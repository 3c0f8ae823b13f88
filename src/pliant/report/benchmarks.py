"""Scores on benchmarks, choices, divergence and drift: each checkpoint, and the last against the best earlier one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pliant.report.study import Study, budget_name, modification_name
from pliant.report.unit import rate
from pliant.statistics import Reading, Series, SeriesKey
from pliant.statistics.paired import ItemEstimate, PairedDifference, over_items, paired_difference

BENCHMARKS, DISTANCES = ("harness", "choices"), ("divergence", "drift")
RULE = (
    "intervals 95 % over items: Clopper-Pearson for right or wrong, else Student's t; differences paired item by item, "
    "p exact (McNemar); not corrected for the choice of the best"
)
DISTANCE_RULE = (
    "0 for the same weights; intervals 95 % over windows of held-out text, by Student's t, noisy copies averaged "
    "window by window; drift is one number for all the text and has none"
)
_DISTANCE_NAMES = {
    "divergence_nats": "KL divergence from the unmodified model, nats/token",
    "drift_radians": "drift of the last hidden states, radians",
}
LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "divergence", "drift", "brier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One checkpoint's score. Several copies or runs are averaged item by item; the interval is over items."""

    checkpoint: str
    budget: float
    estimate: ItemEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One metric under one modification. `change` is the last score minus the best earlier one on the same items,
    None where there is no earlier one or the items are not known; the choice of the best is not corrected for."""

    evaluation: str
    what: str
    metric: str
    trajectory: str
    members: str
    modification: str
    label: str
    strength: float
    scores: tuple[Score, ...]
    best: str
    change: PairedDifference | None


def benchmark_rows(study: Study) -> tuple[BenchmarkRow, ...]:
    """A row a metric and modification, those of one metric together; lm-eval's standard errors are left out, as the
    intervals here are over the same items, and so are distances of the base from itself."""
    rows = [
        row
        for key, series in study.series.items()
        if (key.evaluation in BENCHMARKS or (key.evaluation in DISTANCES and key.modification != "none"))
        and key.tensor is None
        and "_stderr," not in key.metric
        if (row := _row(series)) is not None
    ]
    order = list(dict.fromkeys(map(quantity, rows)))
    return tuple(sorted(rows, key=lambda row: order.index(quantity(row))))


def quantity(row: BenchmarkRow) -> tuple[str, str, str, str]:
    """What rows that are compared have in common."""
    return (row.what, row.metric, row.trajectory, row.members)


def _row(series: Series) -> BenchmarkRow | None:
    points = _points(series)
    if not points:
        return None
    key = series.key
    items = {budget: _items(readings) for budget, readings in points.items()}
    scores = tuple(
        Score(
            checkpoint=budget_name(budget, series.names),
            budget=budget,
            estimate=_estimate(readings, items[budget]),
        )
        for budget, readings in sorted(points.items())
    )
    sign = -1 if any(word in key.metric for word in LOWER_IS_BETTER) else 1
    best = max(scores, key=lambda score: sign * score.estimate.value)
    earlier = max(scores[:-1], key=lambda score: sign * score.estimate.value, default=None)
    return BenchmarkRow(
        evaluation=key.evaluation,
        what=what_of(key),
        metric=key.metric,
        trajectory=key.trajectory,
        members=key.members,
        modification=key.modification,
        label=key.label,
        strength=key.strength,
        scores=scores,
        best=best.checkpoint,
        change=_change(items, scores[-1], earlier) if earlier is not None else None,
    )


def what_of(key: SeriesKey) -> str:
    """ "letters", "mmlu mmlu_anatomy" for a member of a group, "drift"."""
    member = f" {key.split}" if key.evaluation == "harness" and key.split else ""
    return (key.task or key.evaluation) + member


def _points(series: Series) -> dict[float, list[Reading]]:
    """The readings of every budget, all runs and copies; a budget with a diverged one is left out."""
    points: dict[float, list[Reading]] = {}
    for (_, budget), readings in series.points.items():
        points.setdefault(budget, []).extend(readings)
    return {budget: readings for budget, readings in points.items() if all(r.usable for r in readings)}


def _items(readings: list[Reading]) -> tuple[float, ...]:
    """Each item's mean over the readings; none where items weigh differently, or are not known."""
    sizes = {size for r in readings for size in r.count}
    if len(sizes) != 1 or len({len(r.blocks) for r in readings}) != 1:
        return ()
    return tuple((np.mean([r.blocks for r in readings], axis=0) / sizes.pop()).tolist())


def _estimate(readings: list[Reading], items: tuple[float, ...]) -> ItemEstimate:
    if items:
        return over_items(items)
    value = math.fsum(r.value for r in readings) / len(readings)
    return ItemEstimate(value=value, low=math.nan, high=math.nan, n=0, method="no interval: items are not known")


def _change(items: Mapping[float, tuple[float, ...]], last: Score, earlier: Score) -> PairedDifference | None:
    first, second = items[last.budget], items[earlier.budget]
    return paired_difference(first, second) if first and len(first) == len(second) else None


def number(value: float) -> str:
    """Three decimals, with a minus sign; an en dash for what does not exist."""
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else "–"


def with_interval(estimate: ItemEstimate, shown: Callable[[float], str] = number) -> str:
    """ "0.412 [0.380, 0.444]", or the number alone."""
    return f"{shown(estimate.value)} {interval(estimate, shown)}".rstrip()


def interval(estimate: ItemEstimate, shown: Callable[[float], str] = number) -> str:
    """ "[0.380, 0.444]", or "" where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"[{shown(estimate.low)}, {shown(estimate.high)}]"


def change_words(change: PairedDifference | None) -> str:
    """ "−0.031 [−0.052, −0.010], p 0.004": p is McNemar's, where items are right or wrong."""
    if change is None:
        return "–"
    return with_interval(change.difference) + (f", p {change.p:.2g}" if change.p is not None else "")


def row_name(row: BenchmarkRow) -> str:
    """ "noise, init scaling γ 0.05", "quantisation, per channel, 8 bits"; for the base "no modification"."""
    return modification_name(row.modification, row.label, row.strength)


def title_of(row: BenchmarkRow) -> str:
    """ "letters, acc"; a distance with its unit."""
    return _DISTANCE_NAMES.get(row.metric, f"{row.what}, {row.metric}")


def distance(value: float) -> str:
    """Three significant digits: distances span orders of magnitude. An en dash for what does not exist."""
    return rate(value) if math.isfinite(value) else "–"
