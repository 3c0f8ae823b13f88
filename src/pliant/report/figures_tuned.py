"""Each checkpoint at its own best rate: task loss, pre-training loss, and the rate."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from pliant.report import captions
from pliant.report.figure import Dash, Figure, Kind, Ledger, Point, Trace, bounds
from pliant.report.figures_heat import point_of
from pliant.report.figures_loss import slug
from pliant.report.study import Study, budget_name, capital, group_names, phrase
from pliant.statistics import Curve, Reading, Sweep, TunedRate, middle_budget, over_seeds
from pliant.statistics.curve import At

FEW = 2
"""With more ladders than this in one figure only their means are drawn: three lines and six runs of each hide it."""


def tuned_figures(study: Study, ledger: Ledger, label: str) -> Iterator[Figure]:
    """Task loss, pre-training loss and the rate of one fine-tuning label, each checkpoint at its best rate."""
    some = [sweep for sweep in study.sweeps if sweep.label == label]
    if some:
        yield _tuned(study, some, ledger, label, "task loss")
        yield _tuned(study, some, ledger, label, "pre-training loss")
        yield _rates(study, some, ledger, label)


def _tuned(study: Study, some: Sequence[Sweep], ledger: Ledger, label: str, quantity: str) -> Figure:
    task = quantity == "task loss"
    chosen: _Pick = (lambda t: t.task_loss) if task else (lambda t: t.pretraining_loss)
    between: _Pick = (lambda t: t.optimum_task_loss) if task else (lambda t: t.optimum_pretraining_loss)
    traces: list[Trace] = []
    for hue, sweep in enumerate(some):
        name, dash = _name(sweep, some), sweep.members == "undecayed trunk"
        factor = study.unit.of(sweep.trajectory).factor
        found = _chosen_lines(sweep, sweep.curve(chosen), quantity, ledger, name, hue, dash)
        if len(some) <= FEW:
            found.append(_between_line(sweep, sweep.curve(between), quantity, ledger, some, hue))
            found += _reused_line(sweep, quantity, ledger, some, hue)
        else:
            found = found[:1]
        traces += [replace(trace, factor=factor) for trace in found]
    return Figure(
        id=slug(study.name, "tuned", label, quantity),
        title=f"{capital(phrase(label))}: {quantity}",
        caption=(captions.TUNED_TASK if task else captions.TUNED_PRETRAINING)
        + (captions.TUNED_REUSED if len(some) <= FEW else captions.TUNED_MANY),
        kind="curves",
        y_name=quantity,
        unit=study.unit.name,
        factor=study.unit.of(some[0].trajectory).factor,
        ticks=_ticks(some),
        traces=tuple(traces),
    )


_Pick = Callable[[TunedRate], float]


def _name(sweep: Sweep, some: Sequence[Sweep]) -> str:
    places = group_names((s.trajectory, s.members) for s in some)
    return places[sweep.trajectory, sweep.members] or "best of the grid"


def _ticks(some: Sequence[Sweep]) -> dict[float, str]:
    return dict(sorted({b: budget_name(b, s.names) for s in some for b in s.names}.items()))


def reading_name(quantity: str) -> str:
    """What `Sweep.readings` calls it."""
    return "task loss, test" if quantity == "task loss" else quantity


def _chosen_lines(
    sweep: Sweep, curve: Curve, quantity: str, ledger: Ledger, name: str, hue: int, dash: bool
) -> list[Trace]:
    style: Dash = "dash" if dash else "solid"
    seeds = curve.seeds if len(curve.seeds) > 1 else ()
    runs = (
        Trace(
            name=f"{name}, seed {s}",
            group=name,
            role="run",
            points=tuned_points(sweep, curve.of_seed(s), quantity, ledger),
            hue=hue,
            dash=style,
        )
        for s in seeds
    )
    mean = tuned_points(sweep, curve, quantity, ledger)
    return [Trace(name=name, group=name, role="mean", points=mean, hue=hue, dash=style), *runs]


def tuned_points(sweep: Sweep, curve: Curve, quantity: str, ledger: Ledger) -> tuple[Point, ...]:
    """One point a budget, each naming what was measured at the tuned rates of the runs in `curve`."""
    tuned = sweep.tuned()
    found = []
    for budget in curve.budgets:
        keys = [(s, budget, tuned[s, budget].rate) for s in curve.seeds if (s, budget) in curve.draws]
        sources = {
            "m": ledger.refer(r for key in keys for r in sweep.readings[*key, reading_name(quantity)]),
            "v": ledger.refer(r for key in keys for r in sweep.readings[*key, "task loss, validation"]),
        }
        found.append(point_of(budget, curve.at(budget), "mean", sources))
    return tuple(found)


def _reused_line(sweep: Sweep, quantity: str, ledger: Ledger, some: Sequence[Sweep], hue: int) -> list[Trace]:
    """The rate tuned once; nothing where there is one budget, at which it is the tuned rate."""
    if len(sweep.budgets) < 2:
        return []
    rates, middle = sweep.reused_rates(), middle_budget(sweep.budgets)
    curve = sweep.reused(lambda p: p.task_loss if quantity == "task loss" else p.pretraining_loss)
    found = []
    for budget in curve.budgets:
        seeds = [s for s in curve.seeds if (s, budget) in curve.draws]
        sources = {
            "m": ledger.refer(r for s in seeds for r in sweep.readings[s, budget, rates[s], reading_name(quantity)]),
            "v": ledger.refer(_validation(sweep, {(s, middle) for s in seeds})),
        }
        found.append(point_of(budget, curve.at(budget), "reused", sources))
    name = f"tuned at {budget_name(middle, sweep.names)}, reused"
    title = name if len(some) == 1 else f"{_name(sweep, some)}, {name}"
    return [Trace(name=title, group=title, role="mean", points=tuple(found), hue=len(some) + hue)] if found else []


def _validation(sweep: Sweep, places: Collection[At]) -> Iterator[Reading]:
    """The validation task losses that chose a rate there."""
    for rate in sorted({point.rate for at in places for point in sweep.rates.get(at, ())}):
        for at in sorted(places):
            found = sweep.readings.get((*at, rate, "task loss, validation"), ())
            yield from (r for r in found if r.usable)


def _between_line(sweep: Sweep, curve: Curve, quantity: str, ledger: Ledger, some: Sequence[Sweep], hue: int) -> Trace:
    tuned = sweep.tuned()
    found = []
    for budget in curve.budgets:
        keys = [
            (seed, budget, rate)
            for seed in curve.seeds
            if (seed, budget) in tuned
            for rate in (tuned[seed, budget].neighbours or (tuned[seed, budget].rate,))
        ]
        sources = {
            "m": ledger.refer(r for key in keys for r in sweep.readings[*key, reading_name(quantity)]),
            "v": ledger.refer(r for key in keys for r in sweep.readings[*key, "task loss, validation"]),
        }
        found.append(point_of(budget, curve.at(budget), "parabola", sources))
    title = "interpolated" if len(some) == 1 else f"{_name(sweep, some)}, interpolated"
    return Trace(name=title, group=title, role="mean", points=tuple(found), hue=hue, dash="dot")


def _rates(study: Study, some: Sequence[Sweep], ledger: Ledger, label: str) -> Figure:
    traces = []
    for hue, sweep in enumerate(some):
        name, style = _name(sweep, some), "dash" if sweep.members == "undecayed trunk" else "solid"
        grid, between = _rate_points(sweep, ledger, "rate"), _rate_points(sweep, ledger, "optimum")
        traces.append(Trace(name=name, group=name, role="mean", points=grid, hue=hue, dash=_dash(style)))
        title = "interpolated" if len(some) == 1 else f"{name}, interpolated"
        if len(some) <= FEW:
            traces.append(Trace(name=title, group=title, role="mean", points=between, hue=hue, dash="dot"))
    return Figure(
        id=slug(study.name, "tuned", label, "rate"),
        title=f"{capital(phrase(label))}: the tuned rate",
        caption=captions.TUNED_RATE,
        kind="curves",
        y_name="learning rate",
        unit=None,
        factor=None,
        ticks=_ticks(some),
        traces=tuple(traces),
        y_log=True,
    )


def _dash(style: str) -> Dash:
    return "dash" if style == "dash" else "solid"


def _rate_points(sweep: Sweep, ledger: Ledger, kind: Kind) -> tuple[Point, ...]:
    tuned = sweep.tuned()
    found = []
    for budget in sorted({b for _, b in tuned}):
        runs = {s: t.rate if kind == "rate" else t.optimum_rate for (s, b), t in tuned.items() if b == budget}
        logs = over_seeds({seed: math.log(value) for seed, value in runs.items()})
        low, high = bounds(logs)
        validation = _validation(sweep, {(s, budget) for s in runs})
        found.append(
            Point(
                x=budget,
                y=math.exp(logs.value),
                low=None if low is None else math.exp(low),
                high=None if high is None else math.exp(high),
                kind=kind,
                method=f"{logs.method}, of the log rate" if logs.has_interval else logs.method,
                sources={"v": ledger.refer(validation)},
            )
        )
    return tuple(found)
