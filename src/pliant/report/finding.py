"""What one modification did over the budgets: minimum, rise, rank correlation, verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from pliant.report.study import Study
from pliant.statistics import (
    Curve,
    Judgement,
    Minimum,
    RankCorrelation,
    Series,
    Sweep,
    base_of,
    judge,
    locate_minimum,
    sensitivity,
    spearman,
)

Rate = Literal["fixed", "tuned", "tuned, interpolated"]
Quantity = Literal["pre-training loss", "task loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One modified-loss curve. `strength` is None where the rate was tuned for each checkpoint.

    `rank` correlates `rank_of` with budget for the mean curve, `rank_seeds` for each run.
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
    diverged: int
    names: Mapping[float, str]


def find(study: Study) -> tuple[Finding, ...]:
    """Base, noise, fine-tuning at each fixed rate, then fine-tuning at the tuned rate.

    Series with fewer than two budgets, or no run measured at all of them, are left out.
    """
    fixed = [f for s in _loss_series(study) if (f := _of_series(s, study)) is not None]
    tuned = [f for sweep in study.sweeps for f in _of_sweep(sweep, study)]
    return (*fixed, *tuned)


def _loss_series(study: Study) -> Iterator[Series]:
    for modification in ("none", "noise", "fine-tune"):
        yield from study.matching(
            evaluation="pretraining-loss", metric="loss_nats", modification=modification
        )
    yield from study.matching(evaluation="task-loss", metric="loss_nats", modification="fine-tune")


def _of_series(series: Series, study: Study) -> Finding | None:
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
        names=series.names,
        **_numbers(curve, ranked, "sensitivity" if forgets and base else "loss"),
    )


def _of_sweep(sweep: Sweep, study: Study) -> Iterator[Finding]:
    base = _base(sweep, study)
    rates: tuple[tuple[Rate, Quantity, Curve], ...] = (
        ("tuned", "task loss", sweep.curve(lambda t: t.task_loss)),
        ("tuned, interpolated", "task loss", sweep.curve(lambda t: t.optimum_task_loss)),
        ("tuned", "pre-training loss", sweep.curve(lambda t: t.pretraining_loss)),
        ("tuned, interpolated", "pre-training loss", sweep.curve(lambda t: t.optimum_pretraining_loss)),
    )
    for rate, quantity, curve in rates:
        if not _complete(curve):
            continue
        forgets = quantity == "pre-training loss" and base is not None
        ranked = sensitivity(curve, base) if forgets and base else curve
        yield Finding(
            trajectory=sweep.trajectory,
            members=sweep.members,
            modification="fine-tune",
            label=sweep.label,
            strength=None,
            rate=rate,
            quantity=quantity,
            diverged=sum(t.diverged for t in sweep.tuned().values()),
            names=sweep.names,
            **_numbers(curve, ranked, "sensitivity" if forgets else "loss"),
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


def _numbers(curve: Curve, ranked: Curve, rank_of: str) -> _Numbers:
    minimum, whole = locate_minimum(curve), ranked.complete()
    mean = whole.mean()
    return _Numbers(
        minimum=minimum,
        judgement=judge(minimum),
        rank_of=rank_of,
        rank=spearman(list(mean), list(mean.values())),
        rank_seeds=tuple(
            spearman(whole.budgets, [whole.value(seed, b) for b in whole.budgets]) for seed in whole.seeds
        ),
    )
