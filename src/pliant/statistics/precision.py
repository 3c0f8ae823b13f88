"""How many draws make the interval of a sensitivity narrow enough, and at which budgets that matters."""

import math
from collections.abc import Sequence

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Estimate, over_draws
from pliant.statistics.minimum import locate_minimum

FEWEST_EVALUATIONS = 24
"""Noisy copies before an interval is trusted to end the drawing: the width of one from fewer says little."""
FASTEST = 3.0
"""The number of draws grows at most so much at once: from few draws the width is known badly."""


def draws_to_precision(increases: Sequence[float], *, precision: float, copies: int, most: int) -> int:
    """The draws in all after which the 95 % interval of the mean of `increases` should be +-`precision` of it.

    See `draws_to_half_width`.
    """
    mean = over_draws(list(increases), seed=0).value
    return draws_to_half_width(increases, half_width=precision * abs(mean), copies=copies, most=most)


def draws_to_half_width(increases: Sequence[float], *, half_width: float, copies: int, most: int) -> int:
    """The draws in all after which the 95 % interval of the mean of `increases` should be +-`half_width` nats.

    As many as there are where it is so already, on `FEWEST_EVALUATIONS` copies or more, a draw being `copies` of them;
    else n x (half-width now / half_width)^2, since errors fall as n^-1/2, and `most` at most. The rule looks at the
    width alone; what stopping by it does to bias and coverage is in docs/log.md.
    """
    n = len(increases)
    half = half_width_of(over_draws(list(increases), seed=0))
    fewest = math.ceil(FEWEST_EVALUATIONS / copies)
    if n >= fewest and half <= half_width:
        return n
    ratio = (half / half_width) ** 2 if half_width > 0 and math.isfinite(half) else FASTEST
    return max(n, min(most, max(fewest, math.ceil(n * min(ratio, FASTEST)), n + 1 if n >= fewest else 0)))


def half_width_of(found: Estimate) -> float:
    return (found.high - found.low) / 2


def open_budgets(curve: Curve) -> frozenset[float]:
    """The budgets on which the verdict of `curve` hangs: the last, the best before it, and all that may be lowest.

    All of them where no run was measured at every budget, or at one budget only.
    """
    if len(curve.budgets) < 2 or not curve.complete().seeds:
        return frozenset(curve.budgets)
    found = locate_minimum(curve)
    return frozenset({found.last, found.against, *found.candidates})
