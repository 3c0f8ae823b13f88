"""How many draws make an interval narrow enough: a rule for stopping that leaves verdicts as right as they say."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pliant.statistics.estimate import CONFIDENCE
from pliant.statistics.lowest import PRICE_OF_CHOICE
from pliant.statistics.minimum import Minimum

Array = NDArray[np.float64]

CLEAR_BY = 3.0
"""An interval so many times as wide that still excludes the margin needs no more draws."""


def draws_for_precision(
    drawn: NDArray[np.int_],
    *,
    value: Array,
    cautious: Array,
    half_width: Array,
    margin: float,
    precision: float,
    most: int,
) -> NDArray[np.int_]:
    """How many draws in all bring the half-width down to `precision`, `most` at most; `drawn` where none is needed.

    drawn x (half-width / precision)^2, since errors fall as draws^-1/2. Nothing is added where the rise lies
    `CLEAR_BY` half-widths from the margin: `cautious` above it, or `value` below it. So the rule goes by the width
    of the interval, hardly by its place: stopping as soon as a verdict is reached makes "worse" wrong up to twice
    as often as it says (benchmarks/added_draws.py).
    """
    clear = np.maximum(cautious - margin, margin - value) > CLEAR_BY * half_width
    wanted = np.ceil(drawn * (half_width / precision) ** 2) if precision > 0 else np.full_like(half_width, np.inf)
    return np.asarray(np.where(clear, drawn, np.clip(wanted, drawn, np.maximum(most, drawn)))).astype(np.int_)


def precise_draws(minimum: Minimum, *, margin: float, most: int) -> int:
    """The draws in all that bring the half-width of the rise of one run down to the margin, `most` at most."""
    rise = minimum.rise
    quantile = float(stdtrit(rise.degrees_of_freedom, 1 - (1 - CONFIDENCE) / PRICE_OF_CHOICE))
    half_width = quantile * rise.standard_error
    return int(
        draws_for_precision(
            np.asarray(rise.n),
            value=np.asarray(rise.value),
            cautious=np.asarray(minimum.bounds.at_least + half_width),
            half_width=np.asarray(half_width),
            margin=margin,
            precision=margin,
            most=most,
        )
    )
