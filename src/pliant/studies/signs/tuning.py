"""Rules about plain fine-tuning on one ladder: at fixed rates, and at the rate tuned for each checkpoint."""

import itertools
from collections.abc import Callable, Mapping
from typing import Literal

from pliant.records.units import MARGIN_NATS, format_tokens
from pliant.statistics import (
    Curve,
    Estimate,
    Minimum,
    Series,
    SeriesKey,
    Sweep,
    base_of,
    contrast,
    judge,
    locate_minimum,
    over_seeds,
)
from pliant.studies.signs.judged import (
    Judged,
    Measured,
    Rule,
    by_label,
    equal_within,
    grows,
    listed,
    positive,
    rank,
    shown,
    three_way,
)

Quantity = Literal["task loss", "pre-training loss"]
What = Literal["task loss", "pre-training loss", "matched", "reused task loss", "reused pre-training loss"]
_OF: dict[What, Callable[[Sweep], Curve]] = {
    "task loss": lambda sweep: sweep.curve(lambda t: t.optimum_task_loss),
    "pre-training loss": lambda sweep: sweep.curve(lambda t: t.optimum_pretraining_loss),
    "matched": lambda sweep: sweep.matched(),
    "reused task loss": lambda sweep: sweep.reused(lambda p: p.task_loss),
    "reused pre-training loss": lambda sweep: sweep.reused(lambda p: p.pretraining_loss),
}


def forgetting_grows(rates: Callable[[list[float]], list[float]]) -> Rule:
    """Spearman of (pre-training loss after - before) with budget, at those of each task's rates that `rates` picks."""

    def rule(found: Measured) -> Judged:
        ranks: dict[tuple[str, float], float] = {}
        for label, curves in _forgetting(found).items():
            ranks.update({(label, rate): rank(curves[rate]) for rate in rates(sorted(curves))})
        grown = sum(rho >= 0.8 for rho in ranks.values())
        observed = f"rank correlation at least 0.8 at {grown} of {len(ranks)} rates"
        return three_way(*grows(list(ranks.values()))), observed, by_label(ranks)

    return rule


def upper_half(rates: list[float]) -> list[float]:
    return rates[len(rates) // 2 :]


def upper_five(rates: list[float]) -> list[float]:
    return rates[-5:]


def every_rate(rates: list[float]) -> list[float]:
    return rates


def task_keeps_improving(found: Measured) -> Judged:
    """Tuned task loss: last budget - first below zero in every run, and no rise resolved over runs."""
    curves = {sweep.label: sweep.curve(lambda t: t.task_loss) for sweep in _sweeps(found)}
    falls = {name: _per_seed(curve) for name, curve in curves.items()}
    rises = {name: locate_minimum(curve).rise for name, curve in curves.items()}
    improved = all(all(change < 0 for change in changes) for changes in falls.values())
    turned = any(rise.has_interval and rise.low > 0 for rise in rises.values())
    evidence = "; ".join(f"{name}: {listed(changes)}" for name, changes in falls.items())
    return three_way(improved and not turned, turned), "last - first budget, each run: " + evidence, _rises(rises)


def no_tuned_upturn(found: Measured) -> Judged:
    """Pre-training loss at the tuned rate: no rise above its minimum resolved over runs."""
    curves = {sweep.label: sweep.curve(lambda t: t.pretraining_loss) for sweep in _sweeps(found)}
    rises = {name: locate_minimum(curve).rise for name, curve in curves.items()}
    turned = [name for name, rise in rises.items() if rise.has_interval and rise.low > 0]
    return three_way(not turned, bool(turned)), f"{len(turned)} of {len(rises)} tasks turn up", _rises(rises)


def tuned_gets_worse(quantity: Quantity) -> Rule:
    """At the tuned rate the last budget is "worse" on at least one task; disagrees if "not worse" on all."""

    def rule(found: Measured) -> Judged:
        curves = {sweep.label: _OF[quantity](sweep) for sweep in _sweeps(found)}
        return _worse_somewhere({name: [locate_minimum(curve)] for name, curve in curves.items()})

    return rule


def fixed_rate_turns_up(quantity: Quantity) -> Rule:
    """At the two largest rates that nowhere diverged the last budget is "worse", on at least one task.

    Disagrees if it is "not worse" at these on every task.
    """

    def rule(found: Measured) -> Judged:
        fixed = _at_fixed_rates(found, quantity)
        return _worse_somewhere(
            {label: [locate_minimum(curves[rate]) for rate in sorted(curves)[-2:]] for label, curves in fixed.items()}
        )

    return rule


def no_later_for_larger_rate(found: Measured) -> Judged:
    """Of the rates whose mean pre-training loss has its minimum inside the range, none turns later than a smaller one.

    Tasks with fewer than two such rates say nothing.
    """
    turning: dict[str, list[float]] = {}
    for label, curves in _at_fixed_rates(found, "pre-training loss").items():
        minima = [locate_minimum(curves[rate]) for rate in sorted(curves)]
        inside = [m.budget for m in minima if m.budgets[0] < m.budget < m.last]
        if len(inside) > 1:
            turning[label] = inside
    later = {name for name, budgets in turning.items() if any(b > a for a, b in itertools.pairwise(budgets))}
    evidence = "; ".join(f"{name}: {' -> '.join(map(format_tokens, budgets))}" for name, budgets in turning.items())
    observed = f"{len(turning) - len(later)} of {len(turning)} tasks with two such rates"
    return three_way(bool(turning) and not later, bool(later)), observed, evidence


def tuned_rise(task: str, what: What, budget: int, against: int, sign: int = 1) -> Rule:
    """A contrast between two budgets fixed beforehand: agrees if its interval over runs has the `sign`."""

    def rule(found: Measured) -> Judged:
        return positive(contrast(_OF[what](_sweep_on(task, found)), budget=budget, against=against), sign)

    return rule


def equal_at_equal_tokens(task: str, what: What, margin: float) -> Rule:
    """At the last budget decayed - undecayed members of one trajectory, paired by run, lies within +-`margin` nats."""

    def rule(found: Measured) -> Judged:
        mine = {
            members: _OF[what](_sweep_on(task, found.members(members))) for members in ("annealed", "undecayed trunk")
        }
        last = mine["annealed"].budgets[-1]
        return equal_within(_difference(mine["annealed"], mine["undecayed trunk"], last), margin)

    return rule


def rises_more(task: str, what: What, budget: int, against: int, *, more: str, less: str) -> Rule:
    """The contrast on the trajectory `more` exceeds that on `less`, paired by run; annealed members."""

    def rule(found: Measured) -> Judged:
        rises = [
            _rise_by_seed(
                _OF[what](_sweep_on(task, found.trajectory(name).members("annealed"))),
                budget,
                against,
            )
            for name in (more, less)
        ]
        return positive(over_seeds({seed: rises[0][seed] - rises[1][seed] for seed in rises[0] if seed in rises[1]}))

    return rule


def rises_more_reused(task: str, quantity: Quantity, budget: int, against: int) -> Rule:
    """The contrast of the rate tuned once at the middle budget exceeds that of the tuned rate, paired by run."""
    reused: What = "reused task loss" if quantity == "task loss" else "reused pre-training loss"

    def rule(found: Measured) -> Judged:
        sweep = _sweep_on(task, found)
        more, less = (_rise_by_seed(_OF[what](sweep), budget, against) for what in (reused, quantity))
        return positive(over_seeds({seed: more[seed] - less[seed] for seed in more if seed in less}))

    return rule


def _rise_by_seed(curve: Curve, budget: int, against: int) -> dict[int, float]:
    return {seed: curve.value(seed, budget) - curve.value(seed, against) for seed in curve.complete().seeds}


def _difference(one: Curve, other: Curve, budget: float) -> Estimate:
    shared = [seed for seed in one.seeds if seed in other.seeds]
    return over_seeds({seed: one.value(seed, budget) - other.value(seed, budget) for seed in shared})


def _sweeps(found: Measured) -> tuple[Sweep, ...]:
    """Those of plain fine-tuning, which the signs are about."""
    mine = found.plain().sweeps
    if not mine:
        raise ValueError("no sweep of learning rates is complete")
    return mine


def _sweep_on(task: str, found: Measured) -> Sweep:
    mine = [sweep for sweep in found.plain().sweeps if sweep.task == task]
    if not mine:
        raise ValueError(f"{task} was not run")
    if len({sweep.label for sweep in mine}) > 1:
        raise ValueError(f"{task} was run in several ways: {', '.join(sorted({sweep.label for sweep in mine}))}")
    return mine[0]


def _forgetting(found: Measured) -> dict[str, dict[float, Curve]]:
    """Label -> rate -> pre-training loss after minus before."""
    everything = found.plain().series
    curves: dict[str, dict[float, Curve]] = {}
    for key, series in _tuning_series(everything, "pre-training loss"):
        base = base_of(key, everything)
        if base is not None:
            curves.setdefault(key.label, {})[key.strength] = series.sensitivity(base)
    return curves


def _at_fixed_rates(found: Measured, quantity: Quantity) -> dict[str, dict[float, Curve]]:
    """Label -> rate -> its curve over budgets, rates that diverged anywhere left out."""
    curves: dict[str, dict[float, Curve]] = {}
    for key, series in _tuning_series(found.plain().series, quantity):
        if not series.diverged():
            curves.setdefault(key.label, {})[key.strength] = series.curve()
    return curves


def _tuning_series(everything: Mapping[SeriesKey, Series], quantity: Quantity) -> list[tuple[SeriesKey, Series]]:
    """The series of one loss after fine-tuning at each positive rate; the task's on its test split."""
    mine = [
        (key, series)
        for key, series in everything.items()
        if key.modification == "fine-tune" and key.strength > 0 and key.metric == "loss_nats" and _is(key, quantity)
    ]
    if not mine:
        raise ValueError("no fine-tuning was measured")
    return mine


def _is(key: SeriesKey, quantity: Quantity) -> bool:
    if quantity == "task loss":
        return key.evaluation == "task-loss" and key.split == "test"
    return key.evaluation == "pretraining-loss"


def _worse_somewhere(minima: Mapping[str, list[Minimum]]) -> Judged:
    """Agrees if on one task every one of its curves is worse at the end, disagrees if none is on any."""
    verdicts = {name: [judge(m, margin=MARGIN_NATS).verdict for m in mine] for name, mine in minima.items()}
    worse = [name for name, mine in verdicts.items() if all(v == "worse" for v in mine)]
    denied = all(v == "not worse" for mine in verdicts.values() for v in mine)
    evidence = "; ".join(
        f"{name}: {', '.join(f'{v} ({shown(m.rise)})' for v, m in zip(verdicts[name], mine, strict=True))}"
        for name, mine in minima.items()
    )
    return three_way(bool(worse), denied), f"worse on {len(worse)} of {len(minima)} tasks", evidence


def _per_seed(curve: Curve) -> list[float]:
    first, last = curve.budgets[0], curve.budgets[-1]
    return [curve.value(seed, last) - curve.value(seed, first) for seed in curve.complete().seeds]


def _rises(rises: dict[str, Estimate]) -> str:
    return "; ".join(f"{name}: rise {shown(rise)}" for name, rise in rises.items())
