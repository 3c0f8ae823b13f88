"""How far fine-tuning moved the weights, how quickly it learned, and what loss each distance leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pliant.report import captions
from pliant.report.figure import Figure, Ledger, Point, Trace, bounds
from pliant.report.figures_heat import point_of
from pliant.report.figures_loss import lines, slug, ticks, titled
from pliant.report.study import Study, budget_name, capital, phrase
from pliant.report.unit import rate
from pliant.statistics import Reading, Series, Sweep, over_seeds

WIDE = 3.0
"""Losses whose largest is more than this many times the smallest stand on a logarithmic axis."""


def moved_figures(study: Study, ledger: Ledger, label: str) -> Iterator[Figure]:
    """Distance and adaptation over budgets, one line a rate; task and pre-training loss over distance, one a budget."""
    for place in study.groups:
        distances = _series(study, "displacement", "distance", (*place, label))
        adaptations = _series(study, "adaptation", "adaptation_nats", (*place, label))
        sweep = next((s for s in study.sweeps if (s.trajectory, s.members, s.label) == (*place, label)), None)
        if distances:
            yield _distance(study, distances, ledger)
        if adaptations:
            yield _adaptation(study, adaptations, sweep, ledger)
        if distances and sweep is not None:
            yield _against(study, sweep, "task loss", ledger)
            yield _against(study, sweep, "pre-training loss", ledger)


def _series(study: Study, evaluation: str, metric: str, place: tuple[str, str, str]) -> list[Series]:
    found = study.matching(evaluation=evaluation, metric=metric, modification="fine-tune", split=None)
    return [s for s in found if (s.key.trajectory, s.key.members, s.key.label) == place and s.curve().draws]


def _each_rate(some: Sequence[Series], ledger: Ledger) -> list[Trace]:
    traces: list[Trace] = []
    shown = ledger.some(some)
    for place, series in enumerate(shown):
        tone = place / max(len(shown) - 1, 1)
        traces += lines(series, None, ledger, name=rate(series.key.strength), tone=tone)
    return traces


def _distance(study: Study, some: Sequence[Series], ledger: Ledger) -> Figure:
    key = some[0].key
    where = study.places[key.trajectory, key.members]
    return Figure(
        id=slug(study.name, "distance", key.label, where),
        title=titled(f"Distance moved by {phrase(key.label)}", where),
        caption=captions.DISTANCE,
        kind="curves",
        y_name="‖θ′ − θ‖",
        unit=None,
        factor=None,
        ticks=ticks(some),
        traces=tuple(_each_rate(some, ledger)),
        y_log=True,
        legend_title="rate",
    )


def _adaptation(study: Study, some: Sequence[Series], sweep: Sweep | None, ledger: Ledger) -> Figure:
    key = some[0].key
    where = study.places[key.trajectory, key.members]
    traces = [trace for trace in _each_rate(some, ledger) if trace.role == "mean"]
    return Figure(
        id=slug(study.name, "adaptation", key.label, where),
        title=titled(f"Adaptation in {phrase(key.label)}", where),
        caption=captions.ADAPTATION,
        kind="curves",
        y_name="mean loss while training",
        unit=study.unit.name,
        factor=study.unit.of(key.trajectory).factor,
        ticks=ticks(some),
        traces=(*traces, *(_tuned(sweep, ledger) if sweep is not None else ())),
        y_log=_wide(traces),
        legend_title="rate",
    )


def _tuned(sweep: Sweep, ledger: Ledger) -> Iterator[Trace]:
    rates = {at: tuned.rate for at, tuned in sweep.tuned().items()}
    curve = sweep.beside("adaptation", rates)
    found = []
    for budget in curve.budgets:
        at = [(seed, budget) for seed in curve.seeds if (seed, budget) in curve.draws]
        sources = {
            "m": ledger.refer(r for place in at for r in sweep.readings[*place, rates[place], "adaptation"]),
            "v": ledger.refer(r for place in at for r in sweep.readings[*place, rates[place], "task loss, validation"]),
        }
        found.append(point_of(budget, curve.at(budget), "mean", sources))
    if found:
        yield Trace(name="tuned", group="tuned", role="mean", points=tuple(found), hue=1)


def _against(study: Study, sweep: Sweep, quantity: str, ledger: Ledger) -> Figure:
    where = study.places[sweep.trajectory, sweep.members]
    budgets = ledger.some(sweep.budgets)
    traces = []
    for place, budget in enumerate(budgets):
        rates = sorted({p.rate for (_, b), points in sweep.rates.items() if b == budget for p in points if p.rate > 0})
        points = [point for r in rates if (point := _point(sweep, budget, r, quantity, ledger)) is not None]
        if points:
            name, tone = budget_name(budget, sweep.names), place / max(len(budgets) - 1, 1)
            traces.append(Trace(name=name, group=name, role="mean", points=tuple(points), tone=tone))
    return Figure(
        id=slug(study.name, "against-distance", sweep.label, quantity, where),
        title=titled(f"{capital(quantity)} against distance, {phrase(sweep.label)}", where),
        caption=captions.AGAINST_DISTANCE,
        kind="curves",
        y_name=quantity,
        unit=study.unit.name,
        factor=study.unit.of(sweep.trajectory).factor,
        ticks={},
        traces=tuple(traces),
        y_log=_wide(traces),
        legend_title="tokens",
        x_name="‖θ′ − θ‖",
    )


def _point(sweep: Sweep, budget: float, at_rate: float, quantity: str, ledger: Ledger) -> Point | None:
    """The mean over the runs that have both; None if any run diverged there, which would leave the lucky ones."""
    points = {s: p for (s, b), found in sweep.rates.items() if b == budget for p in found if p.rate == at_rate}
    moved = {s: r for s in points if (r := sweep.readings.get((s, budget, at_rate, "distance"), ()))}
    if not moved or any(p.diverged for p in points.values()):
        return None
    task = quantity == "task loss"
    loss = over_seeds({s: points[s].task_loss if task else points[s].pretraining_loss for s in moved})
    distance = over_seeds({s: _mean(r) for s, r in moved.items()})
    name = "task loss, test" if task else quantity
    low, high = bounds(loss)
    sources = {
        "m": ledger.refer(r for s in moved for r in sweep.readings[s, budget, at_rate, name]),
        "d": ledger.refer(r for found in moved.values() for r in found),
    }
    words = f"rate {rate(at_rate)}, distance {distance.value:.3g}"
    point = Point(x=distance.value, y=loss.value, kind="against", method=loss.method, sources=sources, where=words)
    return replace(point, low=low, high=high)


def _mean(found: Sequence[Reading]) -> float:
    return sum(r.value for r in found) / len(found)


def _wide(traces: Sequence[Trace]) -> bool:
    values = [point.y for trace in traces for point in trace.points]
    return bool(values) and min(values) > 0 and max(values) > WIDE * min(values)
