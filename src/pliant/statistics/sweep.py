"""Fine-tuning sweeps: every rate at every budget and seed, tuned, and the curves that follow."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pliant.statistics.curve import Curve, Draws
from pliant.statistics.matched import matched_learning
from pliant.statistics.reading import Reading
from pliant.statistics.series import SeriesKey, gather
from pliant.statistics.tuned import RatePoint, TunedRate, tune

_Name = tuple[str, str, str, str, str]
"""(study, trajectory, members, label, task)"""
_At = tuple[int, float, float, str]
"""(pre-training seed, budget, rate, quantity)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All rates of one fine-tuning label on one trajectory.

    `rates[seed, budget]` are the points; several fine-tuning seeds at one rate are averaged, and one diverged
    seed makes the rate diverged. `readings` holds what stands behind (seed, budget, rate), by quantity.
    """

    study: str
    trajectory: str
    members: str
    label: str
    task: str
    rates: Mapping[tuple[int, float], tuple[RatePoint, ...]]
    readings: Mapping[_At, tuple[Reading, ...]]
    names: Mapping[float, str]

    def tuned(self) -> dict[tuple[int, float], TunedRate]:
        """(seed, budget) -> the tuned rate; a point whose rates all diverged is left out."""
        good = {at: points for at, points in self.rates.items() if any(not p.diverged for p in points)}
        return {at: tune(points) for at, points in good.items()}

    def curve(self, of: Callable[[TunedRate], float]) -> Curve:
        """One number of the tuned rate over budgets, e.g. `lambda t: t.task_loss`."""
        return Curve(draws={at: {"tuned": of(tuned)} for at, tuned in self.tuned().items()})

    def matched(self) -> Curve:
        """Pre-training loss at matched task loss, each run at its own target.

        Raises:
            ValueError: a budget has no rate that did not diverge.
        """
        draws: dict[tuple[int, float], Draws] = {}
        for seed in sorted({seed for seed, _ in self.rates}):
            found = matched_learning({b: points for (s, b), points in self.rates.items() if s == seed})
            draws.update({(seed, b): {"matched": p.pretraining_loss} for b, p in found.chosen.items()})
        return Curve(draws=draws)


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
    return tuple(_sweep(name, found, names[name]) for name, found in groups.items())


def _quantity(key: SeriesKey) -> str | None:
    if key.metric == "loss_nats" and key.evaluation == "task-loss":
        return f"task loss, {key.split}"
    if key.metric == "loss_nats" and key.evaluation == "pretraining-loss":
        return "pre-training loss"
    return None


def _sweep(name: _Name, found: Mapping[_At, tuple[Reading, ...]], names: Mapping[float, str]) -> Sweep:
    study, trajectory, members, label, task = name
    rates: dict[tuple[int, float], tuple[RatePoint, ...]] = {}
    for seed, budget, rate in sorted({at[:3] for at in found}):
        point = _point(rate, {q: found.get((seed, budget, rate, q), ()) for q in _QUANTITIES})
        if point is not None:
            rates[seed, budget] = (*rates.get((seed, budget), ()), point)
    return Sweep(
        study=study,
        trajectory=trajectory,
        members=members,
        label=label,
        task=task,
        rates=rates,
        readings=found,
        names=names,
    )


_QUANTITIES = ("task loss, validation", "task loss, test", "pre-training loss")


def _point(rate: float, found: Mapping[str, tuple[Reading, ...]]) -> RatePoint | None:
    """None while the cell is unfinished; a diverged cell needs only one reading that says so."""
    everything = [r for values in found.values() for r in values]
    if any(not r.usable for r in everything):
        return RatePoint(rate=rate, diverged=True)
    if not all(found.values()):
        return None
    means = [math.fsum(r.value for r in found[q]) / len(found[q]) for q in _QUANTITIES]
    return RatePoint(rate=rate, validation_task_loss=means[0], task_loss=means[1], pretraining_loss=means[2])
