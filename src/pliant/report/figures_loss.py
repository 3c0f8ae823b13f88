"""Base loss, sensitivity and modified loss against budget."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from pliant.report import captions
from pliant.report.figure import Dash, Figure, Ledger, Point, Trace, bounds
from pliant.report.study import Study, budget_name, phrase
from pliant.report.unit import strength_number, symbol
from pliant.statistics import Curve, Series, base_of


def base_figure(study: Study, ledger: Ledger) -> Figure | None:
    """Loss without modification, one line a trajectory and kind of member."""
    found = list(study.matching(evaluation="pretraining-loss", metric="loss_nats", modification="none"))
    if not found:
        return None
    traces: list[Trace] = []
    for hue, series in enumerate(found):
        name = study.places[series.key.trajectory, series.key.members] or "base"
        dash = series.key.members == "undecayed trunk"
        factor = study.unit.of(series.key.trajectory).factor
        found_lines = lines(series, None, ledger, name=name, hue=hue, dash=dash, band=True)
        traces += [replace(trace, factor=factor) for trace in found_lines]
    return Figure(
        id=slug(study.name, "base"),
        title="Base loss",
        caption=captions.BASE,
        kind="curves",
        y_name="pre-training loss",
        unit=study.unit.name,
        factor=study.unit.of(found[0].key.trajectory).factor,
        ticks=ticks(found),
        traces=tuple(traces),
    )


def modified_figures(study: Study, ledger: Ledger, modification: str, label: str | None = None) -> Iterator[Figure]:
    """For each label, or that one: sensitivity, then the modified loss; one line a strength."""
    every = study.matching(evaluation="pretraining-loss", metric="loss_nats", modification=modification)
    found = (s for s in every if label in (None, s.key.label))
    for _, group in groupby(found, key=lambda s: (s.key.trajectory, s.key.members, s.key.label)):
        some = list(group)
        shown = ledger.some(some)
        yield _figure(study, shown, ledger, paired=True)
        yield _figure(study, shown, ledger, paired=False)


def _figure(study: Study, some: Sequence[Series], ledger: Ledger, *, paired: bool) -> Figure:
    key = some[0].key
    where = study.places[key.trajectory, key.members]
    traces: list[Trace] = []
    if not paired and (before := base_of(key, study.series)):
        traces += [t for t in lines(before, None, ledger, name="base", hue=-1) if t.role == "mean"]
    for place, series in enumerate(some):
        base = base_of(series.key, study.series) if paired else None
        if paired and base is None:
            continue
        tone = place / max(len(some) - 1, 1)
        traces += lines(series, base, ledger, name=strength_number(key.modification, series.key.strength), tone=tone)
    what = "sensitivity" if paired else "modified"
    return Figure(
        id=slug(study.name, what, key.label, where),
        title=titled(f"{'Sensitivity to' if paired else 'Loss after'} {phrase(key.label)}", where),
        caption=captions.modified(key.modification, _scaling(some[0]), paired=paired),
        kind="curves",
        y_name="sensitivity" if paired else "pre-training loss",
        unit=study.unit.name,
        factor=study.unit.of(key.trajectory).factor,
        ticks=ticks(some),
        traces=tuple(traces),
        y_log=paired and _spread(traces) > 30,
        legend_title=symbol(key.modification),
    )


def lines(
    series: Series,
    base: Series | None,
    ledger: Ledger,
    *,
    name: str,
    tone: float | None = None,
    hue: int | None = None,
    dash: bool = False,
    band: bool = False,
) -> list[Trace]:
    """The mean over runs, then every run; with `base`, differences from it."""
    curve = series.sensitivity(base) if base else series.curve()
    style: Dash = "dash" if dash else "solid"
    mean = points(curve, series, base, ledger)
    seeds = curve.seeds if len(curve.seeds) > 1 and not ledger.crowded else ()
    return [
        Trace(name=name, group=name, role="mean", points=mean, tone=tone, hue=hue, dash=style, band=band),
        *(
            Trace(
                name=f"{name}, seed {seed}",
                group=name,
                role="run",
                points=points(curve.of_seed(seed), series, base, ledger),
                tone=tone,
                hue=hue,
                dash=style,
            )
            for seed in seeds
        ),
    ]


def points(curve: Curve, series: Series, base: Series | None, ledger: Ledger) -> tuple[Point, ...]:
    """One point a budget, each naming the readings of the runs in `curve`."""
    found = []
    for budget in curve.budgets:
        estimate = curve.at(budget)
        low, high = bounds(estimate)
        at = [(seed, budget) for seed in curve.seeds if (seed, budget) in curve.draws]
        sources = {"m": ledger.refer(r for place in at for r in series.points[place])}
        if base:
            sources["b"] = ledger.refer(r for place in at for r in base.points[place])
        found.append(
            Point(
                x=budget,
                y=estimate.value,
                low=low,
                high=high,
                kind="difference" if base else "mean",
                method=estimate.method,
                sources=sources,
            )
        )
    return tuple(found)


def ticks(found: Sequence[Series]) -> dict[float, str]:
    """Budget -> its name on the axis."""
    names = {b: budget_name(b, s.names) for s in found for b in s.names}
    return dict(sorted(names.items()))


def slug(*parts: str) -> str:
    """Letters and digits joined by hyphens, for an id in the page."""
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in " ".join(parts).lower()).split())


def titled(text: str, where: str) -> str:
    """A title, and in brackets what tells this figure from its siblings."""
    return f"{text} ({where})" if where else text


def _scaling(series: Series) -> str | None:
    return next((r.scaling for found in series.points.values() for r in found), None)


def _spread(traces: Sequence[Trace]) -> float:
    """Largest over smallest mean; 0 where one is not positive, and a log axis would lose it."""
    values = [point.y for trace in traces if trace.role == "mean" for point in trace.points]
    return max(values) / min(values) if values and min(values) > 0 else 0.0
