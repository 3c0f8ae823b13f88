"""Whether a cheaper way of measuring is biased by less than matters to an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from pliant.statistics.estimate import CONFIDENCE

SHARE = 0.1
"""Of the half-width of the interval: then a bias lowers its coverage of 95 % by less than half a point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """The mean of cheap - plain over `n` units measured both ways, the half-width of its 95 % interval
    (`uncertainty`), and that of the interval which the plain values will have over all units (`half_width`)."""

    value: float
    uncertainty: float
    half_width: float
    n: int

    @property
    def negligible(self) -> bool:
        """|bias| + its uncertainty is under a tenth of the half-width."""
        return abs(self.value) + self.uncertainty < SHARE * self.half_width


def bias_of(
    plain: Sequence[float] | Float[np.ndarray, " units"],
    cheap: Sequence[float] | Float[np.ndarray, " units"],
    *,
    planned: int,
) -> Bias:
    """The bias of `cheap` against `plain`, unit by unit, held to the t-interval that `planned` units will have.

    Raises:
        ValueError: not the same units on both sides, or fewer than two of them.
    """
    if len(plain) != len(cheap) or len(plain) < 2:
        raise ValueError(f"{len(plain)} units against {len(cheap)}: a bias needs the same on both sides, two at least")
    values = np.asarray(plain, dtype=np.float64)
    apart = np.asarray(cheap, dtype=np.float64) - values
    return Bias(
        value=float(apart.mean()),
        uncertainty=_half_width(float(apart.std(ddof=1)), len(apart)),
        half_width=_half_width(float(values.std(ddof=1)), planned),
        n=len(apart),
    )


def _half_width(deviation: float, n: int) -> float:
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * deviation / math.sqrt(n)
