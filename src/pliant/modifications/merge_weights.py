"""How much each checkpoint counts in a merge: named rules and weights that stand in for a learning-rate decay."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

MergeWeights = str | tuple[float, ...]
"""The name of a rule, or one weight a checkpoint, oldest first."""

_EMA = re.compile(r"ema\(([0-9.eE+-]+)\)")
_SUM_TOLERANCE = 1e-6

DECAYS: Mapping[str, Callable[[float], float]] = {
    "decay-linear": lambda x: 1.0 - x,
    "decay-cosine": lambda x: 0.5 * (1.0 + math.cos(math.pi * x)),
    "decay-1-sqrt": lambda x: 1.0 - math.sqrt(x),
}
"""The learning rate over its peak at the share x of the decay that is over: 1 at 0, 0 at 1."""


def coefficients(weights: MergeWeights, window: int) -> tuple[float, ...]:
    """c_0 ... c_n of theta_0 (the oldest) ... theta_n (the newest), n = window - 1; they are >= 0 and sum to 1.

    `uniform`: 1 / window. `linear`: proportional to 1, 2, ..., window. `ema(A)`: the moving average
    m_i = A theta_i + (1 - A) m_{i-1}, m_0 = theta_0. `decay-...`: see `emulating` with w_j = d(j / window) for the
    schedule d of `DECAYS`; `decay-linear` is `uniform`. Numbers are taken as they are, oldest first.
    Source: EMA and linear, Li et al., arXiv 2505.12082; decays, Tian et al., arXiv 2507.17634, theorem 3.1.

    Raises:
        ValueError: an unknown name, or numbers that are negative, do not sum to 1, or are not one a checkpoint.
    """
    if not isinstance(weights, str):
        return _given(weights, window)
    if weights == "uniform":
        return (1.0 / window,) * window
    if weights == "linear":
        return tuple((i + 1) / (window * (window + 1) / 2) for i in range(window))
    if weights in DECAYS:
        return emulating([DECAYS[weights](j / window) for j in range(1, window)])
    if match := _EMA.fullmatch(weights):
        return _moving_average(float(match[1]), window)
    known = ("uniform", "linear", "ema(0.5)", *DECAYS)
    raise ValueError(f"merge weights {weights!r} are not known; give {', '.join(known)}, or one number a checkpoint")


def emulating(multipliers: Sequence[float]) -> tuple[float, ...]:
    """The weights c_0 ... c_n with which a merge equals constant-rate training whose update blocks were damped.

    With theta_i = theta_0 + g_1 + ... + g_i, sum_i c_i theta_i = theta_0 + sum_j w_j g_j for w_j = c_j + ... + c_n;
    so w_1 >= ... >= w_n (the `multipliers`, of the learning rate in each block) are met by c_0 = 1 - w_1,
    c_j = w_j - w_{j+1}, c_n = w_n. The updates are those of the constant rate: an approximation of a real decay.
    """
    steps = (1.0, *multipliers, 0.0)
    return tuple(before - after for before, after in pairwise(steps))


def _given(weights: Sequence[float], window: int) -> tuple[float, ...]:
    if len(weights) != window:
        raise ValueError(f"{len(weights)} merge weights for {window} checkpoints; give one a checkpoint, oldest first")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or abs(sum(weights) - 1.0) > _SUM_TOLERANCE:
        raise ValueError(f"merge weights must be numbers >= 0 that sum to 1, got {list(weights)}")
    return tuple(float(w) for w in weights)


def _moving_average(share: float, window: int) -> tuple[float, ...]:
    if not 0 < share <= 1:
        raise ValueError(f"ema(A) takes the share A of the newest checkpoint, above 0 and at most 1, got {share}")
    newer = [share * (1.0 - share) ** (window - 1 - i) for i in range(1, window)]
    return ((1.0 - share) ** (window - 1), *newer)
