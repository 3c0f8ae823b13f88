"""Ways of fine-tuning and numbers of steps side by side, each checkpoint at its own tuned rate."""

from collections.abc import Iterator, Sequence

from pliant.report import captions
from pliant.report.figure import Dash, Figure, Ledger, Point, Trace
from pliant.report.figures_heat import point_of
from pliant.report.figures_loss import slug, titled
from pliant.report.figures_tuned import reading_name, tuned_points
from pliant.report.methods import companies
from pliant.report.repeats import lengths, steps_name, way_name
from pliant.report.study import Study, budget_name, capital, phrase
from pliant.report.unit import rate
from pliant.statistics import Curve, Sweep

QUANTITIES = ("task loss", "pre-training loss")
_DASHES: tuple[Dash, ...] = ("dot", "dash", "solid")
"""Of growing amounts, the largest solid."""


def method_figures(study: Study, ledger: Ledger) -> Iterator[Figure]:
    """Tuned task and pre-training loss over budgets, a line for each way of fine-tuning one task."""
    for plain, others in companies(study):
        for quantity in QUANTITIES if others else ():
            yield _methods(study, plain, others, quantity, ledger)


def _methods(study: Study, plain: Sweep, others: Sequence[Sweep], quantity: str, ledger: Ledger) -> Figure:
    where = study.places[plain.trajectory, plain.members]
    traces = [_line(plain, quantity, ledger, "plain", 0, "solid")]
    methods = list(dict.fromkeys(sweep.method for sweep in others))
    for sweep in others:
        mine = [s for s in others if s.method == sweep.method]
        dash = _DASHES[(mine.index(sweep) - len(mine)) % len(_DASHES)]
        name = f"{sweep.method} {rate(sweep.amount)}" if sweep.amount else str(sweep.method)
        traces.append(_line(sweep, quantity, ledger, name, 1 + methods.index(sweep.method), dash))
    return Figure(
        id=slug(study.name, "ways", plain.label, quantity, where),
        title=titled(f"{capital(phrase(plain.label))} in several ways: {quantity}", where),
        caption=captions.WAYS_TASK if quantity == "task loss" else captions.WAYS_PRETRAINING,
        kind="curves",
        y_name=quantity,
        unit=study.unit.name,
        factor=study.unit.of(plain.trajectory).factor,
        ticks={b: budget_name(b, plain.names) for b in plain.budgets},
        traces=tuple(traces),
    )


def _line(sweep: Sweep, quantity: str, ledger: Ledger, name: str, hue: int, dash: Dash) -> Trace:
    points = tuned_points(sweep, _tuned(sweep, quantity), quantity, ledger)
    return Trace(name=name, group=name, role="mean", points=points, hue=hue, dash=dash)


def _tuned(sweep: Sweep, quantity: str) -> Curve:
    return sweep.curve(lambda t: t.task_loss if quantity == "task loss" else t.pretraining_loss)


def steps_figures(study: Study, ledger: Ledger) -> Iterator[Figure]:
    """Tuned task and pre-training loss over the number of fine-tuning steps, a line for each budget."""
    for some in lengths(study):
        for quantity in QUANTITIES:
            yield _steps(study, some, quantity, ledger)


def _steps(study: Study, some: Sequence[Sweep], quantity: str, ledger: Ledger) -> Figure:
    first = some[0]
    where = study.places[first.trajectory, first.members]
    way = way_name(first.task, first.method, first.amount)
    curves = [_tuned(sweep, quantity) for sweep in some]
    budgets = sorted({budget for curve in curves for budget in curve.budgets})
    traces = []
    for place, budget in enumerate(budgets):
        found = zip(some, curves, strict=True)
        points = [_at(s, c, budget, quantity, ledger) for s, c in found if budget in c.budgets]
        name, tone = budget_name(budget, first.names), place / max(len(budgets) - 1, 1)
        traces.append(Trace(name=name, group=name, role="mean", points=tuple(points), tone=tone))
    return Figure(
        id=slug(study.name, "steps", way, quantity, where),
        title=titled(f"{way} for longer: {quantity}", where),
        caption=captions.STEPS,
        kind="curves",
        y_name=quantity,
        unit=study.unit.name,
        factor=study.unit.of(first.trajectory).factor,
        ticks={float(s.steps or 0): steps_name(s.steps or 0, s.task_epochs) for s in some},
        traces=tuple(traces),
        legend_title="tokens",
        x_name="fine-tuning steps",
    )


def _at(sweep: Sweep, curve: Curve, budget: float, quantity: str, ledger: Ledger) -> Point:
    tuned = sweep.tuned()
    keys = [(s, budget, tuned[s, budget].rate) for s in curve.seeds if (s, budget) in curve.draws]
    sources = {
        "m": ledger.refer(r for key in keys for r in sweep.readings[*key, reading_name(quantity)]),
        "v": ledger.refer(r for key in keys for r in sweep.readings[*key, "task loss, validation"]),
    }
    return point_of(float(sweep.steps or 0), curve.at(budget), "mean", sources)
