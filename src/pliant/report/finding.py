"""What one modification did over the budgets: minimum, rise, rank correlation, verdict."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from pliant.records.units import MARGIN_NATS
from pliant.report.study import Study, modification_name
from pliant.statistics import (
    Curve,
    Judgement,
    Minimum,
    RankCorrelation,
    Series,
    Steps,
    Sweep,
    base_of,
    holm,
    judge,
    locate_minimum,
    sensitivity,
    spearman,
    steps,
)

Rate = Literal["fixed", "tuned", "tuned, interpolated", "reused", "matched"]
Quantity = Literal["pre-training loss", "task loss", "adaptation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One modified-loss curve. `strength` is None where the rate was tuned for each checkpoint.

    `rank` correlates `rank_of` with budget for the mean curve, `rank_seeds` for each run; `steps` holds its steps.
    `lost` are budgets that were measured and have no finite value in any run, `left_out` runs that lack a budget;
    `at_edge` says that a best rate lies at an end of its grid at a budget that the verdict compares. `p_holm` is
    `minimum.bounds.p` adjusted over the study's primary curves (noise and the like at every strength, fine-tuning at
    its tuned rate); nan for the others. `aside` marks what stands beside the main fine-tuning of its task.
    """

    trajectory: str
    members: str
    modification: str
    label: str
    strength: float | None
    rate: Rate
    quantity: Quantity
    minimum: Minimum
    judgement: Judgement
    rank_of: str
    rank: RankCorrelation
    rank_seeds: tuple[RankCorrelation, ...]
    steps: Steps
    p_holm: float
    diverged: int
    left_out: tuple[int, ...]
    lost: tuple[float, ...]
    at_edge: bool
    aside: bool
    names: Mapping[float, str]

    @property
    def curve(self) -> tuple[str, str, str, float | None, str, str]:
        """What names the modified curve, as in `FrozenContrast.curve`."""
        return (self.trajectory, self.members, self.label, self.strength, self.rate, self.quantity)

    @property
    def direct(self) -> bool:
        """Whether the weights were changed without training: noise, quantisation, pruning, ..."""
        return self.modification not in ("none", "fine-tune")

    @property
    def primary(self) -> bool:
        return (self.direct and bool(self.strength)) or (self.rate == "tuned" and self.quantity != "adaptation")


def find(study: Study, margin: float = MARGIN_NATS) -> tuple[Finding, ...]:
    """Base, noise and the like, fine-tuning at each fixed rate, then fine-tuning at the tuned rate.

    Series with fewer than two budgets, or no run measured at all of them, are left out.
    """
    fixed = [f for s in _loss_series(study) if (f := _of_series(s, study, margin)) is not None]
    tuned = [f for sweep in study.sweeps for f in _of_sweep(sweep, study, margin)]
    return _adjusted([*fixed, *tuned])


def unjudged(study: Study) -> tuple[str, ...]:
    """The loss series that `find` leaves out: "noise, init scaling γ 0.1"."""
    found = (s.key for s in _loss_series(study) if not _complete(s.curve()))
    return tuple(modification_name(key.modification, key.label, key.strength) for key in found)


def _adjusted(found: list[Finding]) -> tuple[Finding, ...]:
    adjusted = holm([f.minimum.bounds.p if f.primary else math.nan for f in found])
    return tuple(replace(f, p_holm=p) for f, p in zip(found, adjusted, strict=True))


def _loss_series(study: Study) -> Iterator[Series]:
    for modification in ("none", *study.direct, "fine-tune"):
        yield from study.matching(evaluation="pretraining-loss", metric="loss_nats", modification=modification)
    yield from study.matching(evaluation="task-loss", metric="loss_nats", modification="fine-tune")


def _of_series(series: Series, study: Study, margin: float) -> Finding | None:
    curve, base = series.curve(), base_of(series.key, study.series)
    if not _complete(curve):
        return None
    forgets = series.key.evaluation == "pretraining-loss" and series.key.modification != "none"
    ranked = series.sensitivity(base) if forgets and base else curve
    return Finding(
        trajectory=series.key.trajectory,
        members=series.key.members,
        modification=series.key.modification,
        label=series.key.label,
        strength=series.key.strength,
        rate="fixed",
        quantity="pre-training loss" if series.key.evaluation == "pretraining-loss" else "task loss",
        diverged=series.diverged(),
        lost=tuple(sorted({budget for _, budget in series.points} - set(curve.budgets))),
        at_edge=False,
        aside=series.key.label in study.aside,
        names=series.names,
        **_numbers(curve, ranked, "sensitivity" if forgets and base else "loss", margin),
    )


def _of_sweep(sweep: Sweep, study: Study, margin: float) -> Iterator[Finding]:
    base = _base(sweep, study)
    rates: tuple[tuple[Rate, Quantity, Curve], ...] = (
        ("tuned", "task loss", sweep.curve(lambda t: t.task_loss)),
        ("tuned, interpolated", "task loss", sweep.curve(lambda t: t.optimum_task_loss)),
        ("reused", "task loss", sweep.reused(lambda p: p.task_loss)),
        ("tuned", "pre-training loss", sweep.curve(lambda t: t.pretraining_loss)),
        ("tuned, interpolated", "pre-training loss", sweep.curve(lambda t: t.optimum_pretraining_loss)),
        ("reused", "pre-training loss", sweep.reused(lambda p: p.pretraining_loss)),
        ("matched", "pre-training loss", sweep.matched()),
        ("tuned", "adaptation", sweep.beside("adaptation", {at: t.rate for at, t in sweep.tuned().items()})),
    )
    for rate, quantity, curve in rates:
        if not _complete(curve):
            continue
        forgets = quantity == "pre-training loss" and base is not None
        ranked = sensitivity(curve, base) if forgets and base else curve
        numbers = _numbers(curve, ranked, "sensitivity" if forgets else "loss", margin)
        compared = {numbers["minimum"].last, *numbers["minimum"].candidates}
        yield Finding(
            trajectory=sweep.trajectory,
            members=sweep.members,
            modification="fine-tune",
            label=sweep.label,
            strength=None,
            rate=rate,
            quantity=quantity,
            diverged=sum(t.diverged for t in sweep.tuned().values()),
            lost=tuple(sorted({budget for _, budget in sweep.rates} - set(curve.budgets))),
            at_edge=any(t.grid_too_short for (_, b), t in sweep.tuned().items() if b in compared),
            aside=sweep.label in study.aside,
            names=sweep.names,
            **numbers,
        )


def _base(sweep: Sweep, study: Study) -> Curve | None:
    found = study.matching(evaluation="pretraining-loss", metric="loss_nats", modification="none")
    wanted = (sweep.trajectory, sweep.members)
    return next((s.curve() for s in found if (s.key.trajectory, s.key.members) == wanted), None)


def _complete(curve: Curve) -> bool:
    return len(curve.budgets) > 1 and bool(curve.complete().seeds)


class _Numbers(TypedDict):
    minimum: Minimum
    judgement: Judgement
    rank_of: str
    rank: RankCorrelation
    rank_seeds: tuple[RankCorrelation, ...]
    steps: Steps
    p_holm: float
    left_out: tuple[int, ...]


def _numbers(curve: Curve, ranked: Curve, rank_of: str, margin: float) -> _Numbers:
    minimum, whole = locate_minimum(curve), ranked.complete()
    mean = whole.mean()
    return _Numbers(
        minimum=minimum,
        judgement=judge(minimum, margin=margin),
        rank_of=rank_of,
        rank=spearman(list(mean), list(mean.values())),
        rank_seeds=tuple(
            spearman(whole.budgets, [whole.value(seed, b) for b in whole.budgets]) for seed in whole.seeds
        ),
        steps=steps(ranked),
        p_holm=math.nan,
        left_out=tuple(sorted(set(curve.seeds) - set(curve.complete().seeds))),
    )
