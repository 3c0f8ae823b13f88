"""Fine-tuning sweeps: every rate at every budget and seed, tuned, and the curves that follow."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pliant.statistics.curve import At, Curve
from pliant.statistics.levels import TEXT_GROUPS, group_sums, without_each
from pliant.statistics.rate_choice import (
    Losses,
    Rates,
    curve_of,
    matched_losses,
    minus_areas,
    reused_points,
    reused_rates,
    trained,
    tuned_rates,
)
from pliant.statistics.reading import Reading
from pliant.statistics.series import SeriesKey, gather
from pliant.statistics.trend import RateTrend, rate_trend
from pliant.statistics.tuned import RatePoint, TunedRate

_Name = tuple[str, str, str, str, str]
"""(study, trajectory, members, label, task)"""
_At = tuple[int, float, float, str]
"""(pre-training seed, budget, rate, quantity)"""
Beside = Literal["adaptation", "distance", "relative distance"]
_BESIDE: Mapping[tuple[str, str], Beside] = {
    ("adaptation", "adaptation_nats"): "adaptation",
    ("displacement", "distance"): "distance",
    ("displacement", "relative_distance"): "relative distance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All rates of one fine-tuning label on one trajectory.

    `rates[seed, budget]` are the points; several fine-tuning seeds at one rate are averaged, and one diverged
    seed makes the rate diverged. `rates_without[g]` are the points without group g of the validation and the test
    text, so that a choice of rate can be made again (empty where blocks are not known). `readings` holds what
    stands behind (seed, budget, rate), by quantity. `method` and `amount` are as in `Reading`.
    """

    study: str
    trajectory: str
    members: str
    label: str
    task: str
    method: str | None
    amount: float | None
    steps: int | None
    task_epochs: float | None
    rates: Rates
    rates_without: tuple[Rates, ...]
    readings: Mapping[_At, tuple[Reading, ...]]
    names: Mapping[float, str]
    memo: list[dict[At, TunedRate]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted({budget for _, budget in self.rates}))

    @property
    def plain_label(self) -> str:
        """What plain fine-tuning that is otherwise the same (task, length, precision, stopping) is called."""
        amount = "" if self.amount is None else f" {self.amount:g}"
        return self.label.removesuffix(f", {self.method}{amount}")

    def tuned(self) -> dict[At, TunedRate]:
        """(seed, budget) -> the tuned rate; a point whose rates all diverged is left out."""
        return self._tuned()[0]

    def all_diverged(self) -> tuple[At, ...]:
        """(seed, budget) of the points at which rates were tried and every one diverged."""
        tried = {at: points for at, points in self.rates.items() if any(p.rate > 0 for p in points)}
        return tuple(at for at, points in tried.items() if not trained(points))

    def curve(self, of: Callable[[TunedRate], float]) -> Curve:
        """One number of the tuned rate over budgets, e.g. `lambda t: t.task_loss`."""
        found, *without = ({at: of(tuned) for at, tuned in each.items()} for each in self._tuned())
        return curve_of("tuned", found, without)

    def reused_rates(self) -> dict[int, float]:
        """Pre-training seed -> the rate tuned at the middle budget, as one does who tunes once."""
        return reused_rates(self.rates)

    def reused(self, of: Callable[[Losses], float]) -> Curve:
        """One loss over budgets of the rate tuned once, at the middle one of each run; nothing where it diverged."""
        return self._curve(
            "reused", lambda rates: {at: of(p) for at, p in reused_points(rates).items() if not p.diverged}
        )

    def reused_diverged(self) -> tuple[At, ...]:
        """Where the reused rate diverged."""
        return tuple(at for at, point in reused_points(self.rates).items() if point.diverged)

    def beside(self, quantity: Beside, rates: Mapping[At, float]) -> Curve:
        """What was measured beside the losses, at one rate each; several fine-tuning seeds are averaged."""
        found = {at: self.readings.get((*at, rate, quantity), ()) for at, rate in rates.items()}
        return Curve(draws={at: {quantity: _mean(r)} for at, r in found.items() if r and all(x.usable for x in r)})

    def matched(self) -> Curve:
        """Pre-training loss at matched task loss, each run at its own target. Where all diverged, nothing."""
        return self._curve("matched", matched_losses)

    def hypervolume(self) -> Curve:
        """Minus the area above the learning-forgetting frontier, so that lower is better as for a loss."""
        return self._curve("hypervolume", minus_areas)

    def trend(self) -> RateTrend | None:
        """How the tuned rate moves with budget; None under three budgets."""
        return rate_trend(self.tuned())

    def _tuned(self) -> list[dict[At, TunedRate]]:
        """The tuned rates, and those without each group of text: every part of a report asks for them."""
        if not self.memo:
            self.memo.extend(tuned_rates(rates) for rates in (self.rates, *self.rates_without))
        return self.memo

    def _curve(self, name: str, compute: Callable[[Rates], Mapping[At, float]]) -> Curve:
        """What `compute` makes of the rates, and of the rates without each group of text."""
        return curve_of(name, compute(self.rates), [compute(rates) for rates in self.rates_without])


def sweeps(readings: Iterable[Reading]) -> tuple[Sweep, ...]:
    """Every fine-tuning sweep that measured task loss on validation and test, and pre-training loss."""
    groups: dict[_Name, dict[_At, tuple[Reading, ...]]] = {}
    names: dict[_Name, dict[float, str]] = {}
    tuning = [r for r in readings if r.modification == "fine-tune"]
    tasks = {r.cell: r.task for r in tuning if r.task}
    for key, series in gather(tuning).items():
        quantity = _quantity(key)
        for (seed, budget), found in series.points.items():
            task = tasks.get(found[0].cell)
            if quantity is None or task is None or key.task not in (None, task):
                continue
            name = (key.study, key.trajectory, key.members, key.label, task)
            at = (seed, budget, key.strength, quantity)
            groups.setdefault(name, {})[at] = groups.get(name, {}).get(at, ()) + found
            names.setdefault(name, {}).setdefault(budget, series.names[budget])
    found_sweeps = (_sweep(name, found, names[name]) for name, found in groups.items())
    return tuple(sweep for sweep in found_sweeps if sweep.rates)


def _quantity(key: SeriesKey) -> str | None:
    if key.metric == "loss_nats" and key.evaluation == "task-loss":
        return f"task loss, {key.split}"
    if key.metric == "loss_nats" and key.evaluation == "pretraining-loss":
        return "pre-training loss"
    return _BESIDE.get((key.evaluation, key.metric))


def _sweep(name: _Name, found: Mapping[_At, tuple[Reading, ...]], names: Mapping[float, str]) -> Sweep:
    study, trajectory, members, label, task = name
    first = next(iter(found.values()))[0]
    return Sweep(
        study=study,
        trajectory=trajectory,
        members=members,
        label=label,
        task=task,
        method=first.method,
        amount=first.amount,
        steps=first.steps,
        task_epochs=first.task_epochs,
        rates=_rates(found, lambda values: [_mean(values)], 1)[0],
        rates_without=_rates_without(found),
        readings=found,
        names=names,
    )


_QUANTITIES = ("task loss, validation", "task loss, test", "pre-training loss")


def _rates(
    found: Mapping[_At, tuple[Reading, ...]], losses: Callable[[tuple[Reading, ...]], Sequence[float]], number: int
) -> tuple[Rates, ...]:
    """Rates for each of the `number` losses that `losses` makes of the readings of one quantity."""
    made: list[dict[At, list[RatePoint]]] = [{} for _ in range(number)]
    for seed, budget, rate in sorted({at[:3] for at in found}):
        measured = [found.get((seed, budget, rate, quantity), ()) for quantity in _QUANTITIES]
        for mine, point in zip(made, _points(rate, measured, losses, number), strict=False):
            mine.setdefault((seed, budget), []).append(point)
    return tuple({at: tuple(points) for at, points in mine.items()} for mine in made)


def _points(
    rate: float,
    measured: Sequence[tuple[Reading, ...]],
    losses: Callable[[tuple[Reading, ...]], Sequence[float]],
    number: int,
) -> list[RatePoint]:
    """Nothing while the cell is unfinished; a diverged cell needs only one reading that says so."""
    if any(not r.usable for values in measured for r in values):
        return [RatePoint(rate=rate, diverged=True)] * number
    if not all(measured):
        return []
    return [
        RatePoint(rate=rate, validation_task_loss=validation, task_loss=test, pretraining_loss=pretraining)
        for validation, test, pretraining in zip(*map(losses, measured), strict=True)
    ]


def _rates_without(found: Mapping[_At, tuple[Reading, ...]]) -> tuple[Rates, ...]:
    """The rates without each group of text; empty if the blocks of any usable reading are not known."""
    known: dict[int, tuple[float, ...]] = {}
    lost = (values for at, values in found.items() if at[3] in _QUANTITIES)
    for reading in (r for values in lost for r in values if r.usable):
        groups = group_sums(reading.blocks, reading.count)
        if not groups:
            return ()
        known[id(reading)] = without_each(groups)

    def losses(values: tuple[Reading, ...]) -> list[float]:
        return [math.fsum(some) / len(values) for some in zip(*(known[id(r)] for r in values), strict=True)]

    return _rates(found, losses, TEXT_GROUPS)


def _mean(found: tuple[Reading, ...]) -> float:
    return math.fsum(r.value for r in found) / len(found)
