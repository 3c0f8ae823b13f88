"""How many draws make the interval of a sensitivity a given share of it."""

import math
from collections.abc import Sequence

from pliant.statistics.estimate import over_draws

FEWEST_EVALUATIONS = 24
"""Noisy copies before an interval is trusted to end the drawing: the width of one from fewer says little."""
FASTEST = 3.0
"""The number of draws grows at most so much at once: from few draws the width is known badly."""


def draws_to_precision(increases: Sequence[float], *, precision: float, copies: int, most: int) -> int:
    """The draws in all after which the 95 % interval of the mean of `increases` should be +-`precision` of it.

    As many as there are where it is so already, on `FEWEST_EVALUATIONS` copies or more, a draw being `copies` of them;
    else n x (half-width / target)^2, since errors fall as n^-1/2, and `most` at most. The rule looks at the width
    alone; what stopping by it does to bias and coverage is in docs/log.md.
    """
    n = len(increases)
    found = over_draws(list(increases), seed=0)
    target, half = precision * abs(found.value), (found.high - found.low) / 2
    fewest = math.ceil(FEWEST_EVALUATIONS / copies)
    if n >= fewest and half <= target:
        return n
    ratio = (half / target) ** 2 if target > 0 and math.isfinite(half) else FASTEST
    return max(n, min(most, max(fewest, math.ceil(n * min(ratio, FASTEST)), n + 1 if n >= fewest else 0)))
