"""The difference between two given budgets, paired within each pre-training run."""

from pliant.statistics.combination import at_budgets, combined
from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Estimate, over_draws, over_seeds
from pliant.statistics.levels import replicates


def contrast(curve: Curve, *, budget: float, against: float) -> Estimate:
    """value(budget) - value(against), with a t-interval over the seeds that have both.

    With one seed the draws that both budgets share are paired instead and the interval is conditional on
    that run. The budgets must be fixed beforehand for the interval to mean what it says.

    Raises:
        ValueError: no seed was measured at both budgets.
    """
    seeds = [s for s in curve.seeds if (s, budget) in curve.draws and (s, against) in curve.draws]
    if not seeds:
        raise ValueError(f"no pre-training seed was measured both at {budget:g} and at {against:g} tokens")
    if len(seeds) > 1:
        return over_seeds({seed: curve.value(seed, budget) - curve.value(seed, against) for seed in seeds})
    return within_run(curve, seed=seeds[0], budget=budget, against=against)


def within_run(curve: Curve, *, seed: int, budget: float, against: float) -> Estimate:
    """The same difference in one run, its interval over the draws that both budgets share.

    Raises:
        ValueError: the run was not measured at both budgets.
    """
    if (seed, budget) not in curve.draws or (seed, against) not in curve.draws:
        raise ValueError(f"pre-training seed {seed} was not measured both at {budget:g} and at {against:g} tokens")
    first, second = curve.draws[seed, budget], curve.draws[seed, against]
    shared = [draw for draw in first if draw in second]
    if not shared:
        return over_draws([curve.value(seed, budget) - curve.value(seed, against)], seed=seed)
    return over_draws([first[draw] - second[draw] for draw in shared], seed=seed)


def contrast_over_text(curve: Curve, *, budget: float, against: float) -> Estimate:
    """The same difference over the replicates of the runs that have both budgets, the scatter of held-out text added.

    Raises:
        ValueError: no run has both budgets, or there is nothing to test with.
    """
    both = at_budgets(curve, (budget, against))
    if set(both.budgets) != {budget, against}:
        raise ValueError(f"no pre-training seed was measured both at {budget:g} and at {against:g} tokens")
    found = replicates(both)
    if not found.levels:
        raise ValueError("one value at each budget: there is nothing to test with")
    return combined(found, (-1.0, 1.0) if budget > against else (1.0, -1.0), both.seeds)
