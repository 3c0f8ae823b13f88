"""Benchmarks under noise: the score of a checkpoint's noisy copies, and the share that keeps what it could."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pliant.report.benchmarks import LOWER_IS_BETTER, number, what_of
from pliant.report.study import Study, budget_name, modification_name
from pliant.statistics import Estimate, Reading, Series, base_of, over_draws
from pliant.statistics.density import Density, solution_density

KEPT = (0.9, 0.5)
"""The parts of the unmodified score that a copy must keep to be counted."""
RULE = (
    "keeps: share of the noisy copies that score at least so much of the unmodified score, with its Clopper-Pearson "
    "interval; mean: their mean score, with a t-interval; both over draws of the noise, for this checkpoint of this "
    "run and these items. The two copies of an antithetic pair depend on each other: a pair is one draw, and half "
    "kept where one of the two keeps. Where the unmodified score is little above guessing, any copy may keep it"
)
_NO_SHARE = (*LOWER_IS_BETTER, "_nats", "likelihood", "_stderr,")


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityPoint:
    """One checkpoint of one run under one noise.

    `base` is its unmodified score (nan where not measured), `mean` that of its copies, and `kept` holds a share for
    each of `KEPT`; empty where there is no score to keep part of.
    """

    checkpoint: str
    budget: float
    seed: int
    base: float
    mean: Estimate
    kept: tuple[Density, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityRow:
    """One metric under noise of one kind and strength, at every checkpoint of every run."""

    what: str
    metric: str
    trajectory: str
    members: str
    modification: str
    label: str
    strength: float
    points: tuple[DensityPoint, ...]


def density_rows(study: Study) -> tuple[DensityRow, ...]:
    """A row a metric and noise, for metrics between 0 and 1 of which more is better: accuracy, exact match, F1, ..."""
    found = [s for s in study.series.values() if _is_share(s)]
    order = list(dict.fromkeys((s.key.trajectory, s.key.members, what_of(s.key), s.key.metric) for s in found))
    found.sort(key=lambda s: order.index((s.key.trajectory, s.key.members, what_of(s.key), s.key.metric)))
    return tuple(_row(s, base_of(s.key, study.series)) for s in found)


def _is_share(series: Series) -> bool:
    key = series.key
    if key.evaluation not in ("harness", "choices") or key.modification != "noise" or not key.strength:
        return False
    values = [r.value for found in series.points.values() for r in found if r.usable]
    return not any(word in key.metric for word in _NO_SHARE) and all(0 <= value <= 1 for value in values)


def _row(series: Series, base: Series | None) -> DensityRow:
    key = series.key
    bases = base.points if base is not None else {}
    return DensityRow(
        what=what_of(key),
        metric=key.metric,
        trajectory=key.trajectory,
        members=key.members,
        modification=key.modification,
        label=key.label,
        strength=key.strength,
        points=tuple(
            _point(
                budget_name(budget, series.names),
                seed,
                budget,
                series.points[seed, budget],
                bases.get((seed, budget), ()),
            )
            for seed, budget in sorted(series.points)
        ),
    )


def _point(
    name: str, seed: int, budget: float, copies: Sequence[Reading], unmodified: Sequence[Reading]
) -> DensityPoint:
    base = unmodified[0].value if unmodified else math.nan
    draws = _draws(copies)
    return DensityPoint(
        checkpoint=name,
        budget=budget,
        seed=seed,
        base=base,
        mean=over_draws([math.fsum(scores) / len(scores) for scores in draws], seed=seed),
        kept=tuple(solution_density(draws, base=base, kept=kept) for kept in KEPT) if base > 0 else (),
    )


def _draws(copies: Sequence[Reading]) -> list[list[float]]:
    """The scores of each draw: one, or those of an antithetic pair."""
    draws: dict[Hashable, list[float]] = {}
    for copy in copies:
        draws.setdefault((copy.seed, copy.draw), []).append(copy.value)
    return list(draws.values())


def title_of(row: DensityRow) -> str:
    """ "letters, acc under noise, relative scaling γ 0.1"."""
    return f"{row.what}, {row.metric} under {modification_name(row.modification, row.label, row.strength)}"


def place_words(point: DensityPoint, row: DensityRow) -> str:
    """ "399K", or "399K, seed 2" where there are several runs."""
    several = len({other.seed for other in row.points}) > 1
    return f"{point.checkpoint}, seed {point.seed}" if several else point.checkpoint


def mean_words(point: DensityPoint) -> str:
    """ "0.412 [0.380, 0.444]", or the number alone where there is one draw."""
    mean = point.mean
    return (
        f"{number(mean.value)} [{number(mean.low)}, {number(mean.high)}]" if mean.has_interval else number(mean.value)
    )


def kept_words(density: Density) -> str:
    """ "0.69 [0.36, 0.92]"."""
    return f"{density.share:.2f} [{density.low:.2f}, {density.high:.2f}]"
