"""How far a fixed rate moves the weights at every budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.report.grid import Cell, Grid, named, number_cell, number_words
from pliant.report.study import Study, capital, phrase
from pliant.report.unit import rate
from pliant.statistics import ROUGHLY, Curve, Displacement, displacement

METRICS = ("distance", "relative_distance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One fine-tuning label: displacement at each rate, and of all rates together, those measured at every budget.

    `metric` is "distance", the L2 norm of the change, or "relative_distance", that over the norm of the base. `told`
    marks what is said in a sentence: the distance of the main fine-tuning of a task.
    """

    trajectory: str
    members: str
    label: str
    metric: str
    together: Displacement
    each: tuple[Displacement, ...]
    where: str
    told: bool
    words: str


def movements(study: Study) -> tuple[Movement, ...]:
    """One for each fine-tuning label and metric with a rate that was measured at all of two budgets or more."""
    found = (
        _movement(study, metric, place, curves)
        for metric in METRICS
        for place, curves in _places(study, metric).items()
    )
    return tuple(movement for movement in found if movement is not None)


_Place = tuple[str, str, str]
"""(trajectory, members, label)"""


def _places(study: Study, metric: str) -> dict[_Place, dict[float, Curve]]:
    curves: dict[_Place, dict[float, Curve]] = {}
    for series in study.matching(evaluation="displacement", metric=metric, modification="fine-tune", split=None):
        key = series.key
        if key.strength > 0:
            curves.setdefault((key.trajectory, key.members, key.label), {})[key.strength] = series.curve()
    return curves


def _movement(study: Study, metric: str, place: _Place, curves: Mapping[float, Curve]) -> Movement | None:
    together = displacement(curves)
    if together is None:
        return None
    budgets = {budget for curve in curves.values() for budget in curve.budgets}
    each = [displacement({strength: curve}) for strength, curve in curves.items() if set(curve.budgets) == budgets]
    trajectory, members, label = place
    return Movement(
        trajectory=trajectory,
        members=members,
        label=label,
        metric=metric,
        together=together,
        each=tuple(one for one in each if one is not None),
        where=study.places[trajectory, members],
        told=metric == METRICS[0] and label not in study.aside,
        words=_words(label, study.places[trajectory, members], together),
    )


def _words(label: str, where: str, found: Displacement) -> str:
    rates = rate(found.rates[0]) if len(found.rates) == 1 else f"{rate(found.rates[0])} to {rate(found.rates[-1])}"
    size = {"not resolved": "whether it is constant is not resolved"}.get(found.size, found.size)
    head = f"{capital(phrase(label))}{f' ({where})' if where else ''}"
    return (
        f"{head}: at a fixed rate ({rates}) the distance moved changes {number_words(found.ratio)}x from the first "
        f"budget to the last, {number_words(found.spread)}x between the extremes: {size}."
    )


def movement_grids(found: Sequence[Movement], label: str) -> tuple[Grid, ...]:
    """One table for each place of a label, with both metrics where both were measured."""
    mine = [m for m in found if m.label == label]
    places = dict.fromkeys((m.trajectory, m.members) for m in mine)
    return tuple(_grid([m for m in mine if (m.trajectory, m.members) == place]) for place in places)


def _grid(metrics: Sequence[Movement]) -> Grid:
    """A row for every rate, and one for all of them."""
    first = metrics[0]
    each = [{one.rates: one for one in m.each} for m in metrics]
    rows = [("all", [m.together for m in metrics])]
    rows += [(rate(rates[0]), [known[rates] for known in each if rates in known]) for rates in each[0]]
    return Grid(
        title=named([f"{capital(phrase(first.label))}: distance moved at fixed rates", first.where]),
        head=("rate", *(head for m in metrics for head in _heads(m.metric))),
        rows=tuple((Cell(text=name), *(cell for one in found for cell in _cells(one))) for name, found in rows),
        note=f"Geometric means over runs. Roughly constant: the interval of largest / smallest ends below {ROUGHLY:g}.",
    )


def _heads(metric: str) -> tuple[str, ...]:
    relative = "relative: " if metric == "relative_distance" else ""
    return (f"{relative}last / first", "largest / smallest", "Spearman with budget", "")


def _cells(found: Displacement) -> tuple[Cell, ...]:
    rank = number_cell(found.rank, "under three budgets")
    return (number_cell(found.ratio), number_cell(found.spread), rank, Cell(text=found.size))
