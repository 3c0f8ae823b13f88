"""A share of n independent yes-or-no outcomes, with its exact interval."""

from scipy.special import betaincinv

from pliant.statistics.estimate import CONFIDENCE


def clopper_pearson(successes: float, n: int) -> tuple[float, float]:
    """The two-sided 95 % Clopper-Pearson interval of a share: beta quantiles, 0 and 1 at the ends.

    A pair of outcomes that depend on each other is one trial, and half a success where one of the two is. The interval
    still holds the share 95 times of 100 or more, whatever the dependence: whole successes are the worst case (by
    enumeration for n up to 24).

    Raises:
        ValueError: n is 0, or successes are not between 0 and n.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes:g} successes of {n}: give a count between 0 and n, of at least one trial")
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high
