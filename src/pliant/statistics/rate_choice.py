"""What is made of the rates of a sweep: the rate tuned at every budget, one rate reused, matched learning, areas."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pliant.statistics.curve import At, Curve
from pliant.statistics.frontier import frontiers
from pliant.statistics.levels import pseudo_values
from pliant.statistics.matched import matched_learning, matched_pair
from pliant.statistics.tuned import RatePoint, TunedRate, tune

Rates = Mapping[At, tuple[RatePoint, ...]]
"""(pre-training seed, budget) -> its points, rates rising"""


class Losses(Protocol):
    """What was measured at a rate, chosen or given; nats per token."""

    @property
    def task_loss(self) -> float: ...

    @property
    def pretraining_loss(self) -> float: ...


def tuned_rates(rates: Rates) -> dict[At, TunedRate]:
    """The tuned rate of every point where any rate did not diverge."""
    return {at: tune(points) for at, points in rates.items() if trained(points)}


def middle_budget(budgets: Iterable[float]) -> float:
    """The middle one, the lower of the two in the middle of an even number.

    Raises:
        ValueError: no budget was given.
    """
    rising = sorted(set(budgets))
    if not rising:
        raise ValueError("there is no middle of no budgets")
    return rising[(len(rising) - 1) // 2]


def reused_rates(rates: Rates) -> dict[int, float]:
    """Pre-training seed -> the rate of the grid that is best on validation at the middle budget of the sweep.

    A run whose middle budget is not measured, or diverged at every rate, has none.
    """
    middle = middle_budget(budget for _, budget in rates) if rates else 0.0
    return {seed: tune(points).rate for (seed, budget), points in rates.items() if budget == middle and trained(points)}


def reused_points(rates: Rates) -> dict[At, RatePoint]:
    """What the reused rate gives at every budget, diverged or not; nothing where it is not measured."""
    chosen = reused_rates(rates)
    return {
        (seed, budget): point
        for (seed, budget), points in rates.items()
        for point in points
        if seed in chosen and point.rate == chosen[seed]
    }


def matched_losses(rates: Rates) -> dict[At, float]:
    """Pre-training loss at a task loss that every budget of a run reaches."""
    found = {seed: matched_learning(of).chosen for seed, of in _by_seed(rates).items()}
    return {(seed, b): point.pretraining_loss for seed, chosen in found.items() for b, point in chosen.items()}


def matched_differences(rates: Rates, others: Rates) -> dict[At, float]:
    """Pre-training loss of `rates` minus that of `others`, at a task loss that both reach at that run and budget."""
    shared = [at for at, points in rates.items() if at in others and trained(points) and trained(others[at])]
    pairs = {at: matched_pair(rates[at], others[at]) for at in shared}
    return {at: mine.pretraining_loss - other.pretraining_loss for at, (mine, other) in pairs.items()}


def minus_areas(rates: Rates) -> dict[At, float]:
    """Minus the area above the learning-forgetting frontier."""
    found = {seed: frontiers(of) for seed, of in _by_seed(rates).items()}
    return {(seed, b): -frontier.hypervolume for seed, of in found.items() for b, frontier in of.items()}


def trained(points: Sequence[RatePoint]) -> bool:
    """Whether any positive rate did not diverge."""
    return any(p.rate > 0 and not p.diverged for p in points)


def curve_of(name: str, values: Mapping[At, float], without: Sequence[Mapping[At, float]]) -> Curve:
    """A curve of `values`; `without[g]` are the same made without group g of the text, every choice made again."""
    known = [at for at in values if without and all(at in each for each in without)]
    return Curve(
        draws={at: {name: value} for at, value in values.items()},
        text={at: pseudo_values(values[at], [each[at] for each in without]) for at in known},
    )


def _by_seed(rates: Rates) -> dict[int, dict[float, tuple[RatePoint, ...]]]:
    seeds = sorted({seed for (seed, _), points in rates.items() if trained(points)})
    return {seed: {b: p for (s, b), p in rates.items() if s == seed and trained(p)} for seed in seeds}
