"""Several tests of one study, adjusted together."""

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment: the i-th smallest of m p-values times (m - i + 1), made monotone, at most 1.

    Rejecting where the result is below 0.05 keeps the chance of any false rejection at 5 %, whatever the tests have
    in common. nan stays nan and does not count.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[place] = largest
    return tuple(adjusted)
