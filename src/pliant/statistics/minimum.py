"""Where a curve is lowest over the budgets, and how far its last budget lies above that."""

from dataclasses import dataclass
from typing import Literal

from pliant.statistics.contrast import contrast, within_run
from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Estimate

Kind = Literal["interior", "none in range", "at first budget"]

SELECTION_NOTE = (
    "The minimum was picked on the same values that the rise is computed from, which biases the rise "
    "upwards; a contrast between budgets named beforehand has no such bias."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedMinimum:
    """Where one run is lowest, and its own last budget minus the budget the mean curve was compared at."""

    seed: int
    budget: float
    kind: Kind
    rise: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The lowest budget of the mean curve, its kind, and the rise of the last budget above `against`.

    `against` is the lowest budget of the mean curve; where that is the last one itself ("none in range"), it
    is the lowest of the earlier ones, so that the rise is negative and says how surely the curve still falls.
    """

    budget: float
    kind: Kind
    last: float
    against: float
    rise: Estimate
    seeds: tuple[SeedMinimum, ...]
    note: str


def locate_minimum(curve: Curve) -> Minimum:
    """The minimum of the mean curve over the seeds measured at every budget.

    Raises:
        ValueError: fewer than two budgets, or no seed was measured at all of them.
    """
    whole = curve.complete()
    budgets = curve.budgets
    if len(budgets) < 2:
        raise ValueError(f"a minimum over budgets needs two budgets or more; {len(budgets)} was measured")
    if not whole.seeds:
        raise ValueError(f"no pre-training seed was measured at all {len(budgets)} budgets; finish the study")
    mean = whole.mean()
    last = budgets[-1]
    lowest = min(budgets, key=lambda budget: mean[budget])
    against = min(budgets[:-1], key=lambda budget: mean[budget])
    return Minimum(
        budget=lowest,
        kind=_kind(lowest, budgets),
        last=last,
        against=against,
        rise=contrast(whole, budget=last, against=against),
        seeds=tuple(_of_seed(whole, seed, against) for seed in whole.seeds),
        note=SELECTION_NOTE,
    )


def _of_seed(curve: Curve, seed: int, against: float) -> SeedMinimum:
    budgets = curve.budgets
    lowest = min(budgets, key=lambda budget: curve.value(seed, budget))
    rise = within_run(curve, seed=seed, budget=budgets[-1], against=against)
    return SeedMinimum(seed=seed, budget=lowest, kind=_kind(lowest, budgets), rise=rise)


def _kind(lowest: float, budgets: tuple[float, ...]) -> Kind:
    if lowest == budgets[-1]:
        return "none in range"
    return "at first budget" if lowest == budgets[0] else "interior"
