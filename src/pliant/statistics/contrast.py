"""The difference between two given budgets, paired within each pre-training run."""

import numpy as np
from scipy.special import stdtrit

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE, Estimate, counted, over_draws, over_seeds
from pliant.statistics.levels import replicates
from pliant.statistics.lowest import standard_error


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
    both = Curve(
        draws={at: draws for at, draws in curve.draws.items() if at[1] in (budget, against)},
        text={at: groups for at, groups in curve.text.items() if at[1] in (budget, against)},
    ).complete()
    if set(both.budgets) != {budget, against}:
        raise ValueError(f"no pre-training seed was measured both at {budget:g} and at {against:g} tokens")
    found = replicates(both)
    if not found.levels:
        raise ValueError("one value at each budget: there is nothing to test with")
    sign = 1.0 if budget > against else -1.0
    own = sign * np.diff(found.rows, axis=1)[:, 0]
    error, freedom = standard_error(own, None if found.text is None else sign * np.diff(found.text, axis=1)[:, 0])
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2) * error)
    return Estimate(
        value=float(own.mean()),
        low=float(own.mean()) - half,
        high=float(own.mean()) + half,
        standard_error=float(error),
        degrees_of_freedom=float(freedom),
        n=len(own),
        seeds=both.seeds,
        values=tuple(own.tolist()) if len(both.seeds) > 1 else (float(own.mean()),),
        levels=found.levels,
        method=f"95 % t-interval over {counted(found.levels, len(own))}",
    )
