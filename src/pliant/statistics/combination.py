"""A fixed combination of a curve's budgets, or its mean over some of them, with its interval over the replicates."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE, Estimate, counted
from pliant.statistics.levels import Replicates, replicates
from pliant.statistics.lowest import standard_error


def mean_over_budgets(curve: Curve, budgets: Sequence[float]) -> Estimate | None:
    """The mean over `budgets` of the runs measured at all of them, the scatter of held-out text added.

    None if there is no such run. A single value has no interval.
    """
    some = at_budgets(curve, budgets)
    if not budgets or set(some.budgets) != set(budgets):
        return None
    return combined(replicates(some), [1 / len(some.budgets)] * len(some.budgets), some.seeds)


def at_budgets(curve: Curve, budgets: Sequence[float]) -> Curve:
    """The curve at some budgets only, of the runs that have them all."""
    return Curve(
        draws={at: draws for at, draws in curve.draws.items() if at[1] in budgets},
        text={at: groups for at, groups in curve.text.items() if at[1] in budgets},
    ).complete()


def combined(found: Replicates, weights: Sequence[float], seeds: tuple[int, ...]) -> Estimate:
    """sum_k weights_k f(budget_k) with a t-interval over the replicates; without any level it has none."""
    own = found.rows @ np.asarray(weights)
    value, n = float(own.mean()), len(own)
    if found.levels:
        text = None if found.text is None else found.text @ np.asarray(weights)
        error, freedom = (float(number) for number in standard_error(own, text))
        half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
        method = f"95 % t-interval over {counted(found.levels, n)}"
    else:
        error = freedom = half = math.nan
        method = "one value, no interval"
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        degrees_of_freedom=freedom,
        n=n,
        seeds=seeds,
        values=tuple(own.tolist()) if len(seeds) > 1 else (value,),
        levels=found.levels,
        method=method,
    )
