"""Fine-tuning as heat maps: rate x budget, for task loss and for pre-training loss."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pliant.records.identity import Json
from pliant.report import captions
from pliant.report.figure import Figure, Kind, Ledger, Point, Trace, bounds
from pliant.report.figures_loss import slug, titled
from pliant.report.study import Study, budget_name, capital, phrase
from pliant.statistics import Estimate, Reading, Sweep, over_seeds


def heat_figures(study: Study, ledger: Ledger, label: str) -> Iterator[Figure]:
    """Task loss and pre-training loss after fine-tuning, for each sweep of one label."""
    for sweep in (s for s in study.sweeps if s.label == label):
        for quantity in ("task loss, test", "pre-training loss"):
            yield _heat(study, sweep, quantity, ledger)


def _heat(study: Study, sweep: Sweep, quantity: str, ledger: Ledger) -> Figure:
    where = study.places[sweep.trajectory, sweep.members]
    budgets = sorted({at[1] for at in sweep.rates})
    rates = sorted({p.rate for points in sweep.rates.values() for p in points})
    cells = [(b, r, p) for b in budgets for r in rates if (p := _cell(sweep, b, r, quantity, ledger))]
    name = quantity.removesuffix(", test")
    tuned = sweep.tuned()
    chosen = {b: [t.rate for (_, at), t in tuned.items() if at == b] for b in budgets}
    return Figure(
        id=slug(study.name, "heat", sweep.label, name, where),
        title=titled(f"{capital(name)} after {phrase(sweep.label)}", where),
        caption=captions.HEAT,
        kind="heat",
        y_name=name,
        unit=study.unit.name,
        factor=study.unit.of(sweep.trajectory).factor,
        ticks={b: budget_name(b, sweep.names) for b in budgets},
        traces=(Trace(name=name, group=name, role="mean", points=tuple(p for _, _, p in cells)),),
        rows=tuple(r for _, r, _ in cells),
        best=tuple((b, _central(picks, rates)) for b, picks in chosen.items() if picks),
    )


def _cell(sweep: Sweep, budget: float, rate: float, quantity: str, ledger: Ledger) -> Point | None:
    """The mean over runs at one budget and rate; None where a run diverged or nothing was measured."""
    runs: dict[int, float] = {}
    found: list[Reading] = []
    for seed in sorted({seed for seed, at in sweep.rates if at == budget}):
        point = next((p for p in sweep.rates[seed, budget] if p.rate == rate), None)
        if point is None:
            continue
        if point.diverged:
            return None
        runs[seed] = point.pretraining_loss if quantity == "pre-training loss" else point.task_loss
        found += sweep.readings[seed, budget, rate, quantity]
    if not runs:
        return None
    estimate = over_seeds(runs)
    return point_of(budget, estimate, "mean", {"m": ledger.refer(found)})


def point_of(x: float, estimate: Estimate, kind: Kind, sources: Mapping[str, list[Json]]) -> Point:
    low, high = bounds(estimate)
    return Point(x=x, y=estimate.value, low=low, high=high, kind=kind, method=estimate.method, sources=sources)


def _central(picks: Sequence[float], grid: Sequence[float]) -> float:
    """The rate of the grid nearest, on a log scale, to the geometric mean of the runs' rates."""
    mean = math.fsum(map(math.log, picks)) / len(picks)
    return min(grid, key=lambda rate: abs(math.log(rate) - mean) if rate else math.inf)
