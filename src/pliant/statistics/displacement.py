"""How far one fixed rate moves the weights at every budget: is a fixed rate a modification of fixed size?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Estimate, over_seeds
from pliant.statistics.rank import spearman

Size = Literal["roughly constant", "grows", "shrinks", "not resolved"]
ROUGHLY = 1.5
"""Largest over smallest distance up to which it is called roughly constant (a choice)."""
FEWEST = 3
"""Budgets of a rank correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Displacement:
    """Distances of one rate over budgets; of several rates each number is the mean over rates (of its logarithm).

    `ratio` is the distance at the last budget over that at the first, `spread` the largest over the smallest, both
    geometric means over runs (the interval of `spread` is cut at 1, below which it cannot lie); `rank` is the mean
    over runs of Spearman's rho with budget, None under three budgets. `size`: "roughly constant" if the interval of
    the spread ends below `ROUGHLY`, else "grows" or "shrinks" if that of the ratio excludes 1.
    """

    rates: tuple[float, ...]
    ratio: Estimate
    spread: Estimate
    rank: Estimate | None
    size: Size


def displacement(distances: Mapping[float, Curve]) -> Displacement | None:
    """Of the rates (rate -> distance over budgets) that have every budget in as many runs as any; None if there is
    none, or one budget."""
    budgets = {budget for curve in distances.values() for budget in curve.budgets}
    finished = {rate: curve.complete() for rate, curve in distances.items() if set(curve.budgets) == budgets}
    seeds = {seed for curve in finished.values() for seed in curve.seeds}
    whole = {rate: c for rate, c in finished.items() if c.draws and set(c.seeds) == seeds and _positive(c)}
    if not whole or len(budgets) < 2:
        return None
    curves = list(whole.values())
    ratio = _geometric(_each_run(curves, lambda y: math.log(y[-1] / y[0])))
    spread = _geometric(_each_run(curves, lambda y: math.log(max(y) / min(y))))
    spread = replace(spread, low=max(spread.low, 1.0)) if spread.has_interval else spread
    return Displacement(
        rates=tuple(sorted(whole)),
        ratio=ratio,
        spread=spread,
        rank=_rank(curves) if len(budgets) >= FEWEST else None,
        size=_size(ratio, spread),
    )


def _positive(curve: Curve) -> bool:
    return bool((curve.values() > 0).all())


def _each_run(curves: Sequence[Curve], of: Callable[[Sequence[float]], float]) -> dict[int, float]:
    """Seed -> mean over the curves of a number made of that run's values, budgets rising."""
    return {
        seed: math.fsum(of([c.value(seed, b) for b in c.budgets]) for c in curves) / len(curves)
        for seed in curves[0].seeds
    }


def _geometric(logs: Mapping[int, float]) -> Estimate:
    """The estimate of the logarithms, taken back; its standard error stays that of the logarithm."""
    found = over_seeds(logs)
    method = f"{found.method}, of the logarithm" if found.has_interval else found.method
    return replace(
        found,
        value=math.exp(found.value),
        low=math.exp(found.low),
        high=math.exp(found.high),
        values=tuple(math.exp(value) for value in found.values),
        method=method,
    )


def _rank(curves: Sequence[Curve]) -> Estimate:
    """Spearman's rho of each run, its interval cut at -1 and 1. A constant run counts as 0."""
    budgets = curves[0].budgets

    def rho(values: Sequence[float]) -> float:
        found = spearman(budgets, values).rho
        return 0.0 if math.isnan(found) else found

    found = over_seeds(_each_run(curves, rho))
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0)) if found.has_interval else found


def _size(ratio: Estimate, spread: Estimate) -> Size:
    if not spread.has_interval:
        return "not resolved"
    if spread.high <= ROUGHLY:
        return "roughly constant"
    if ratio.low > 1:
        return "grows"
    return "shrinks" if ratio.high < 1 else "not resolved"
