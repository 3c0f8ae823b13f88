"""Does a quantity rise with budget: Spearman's rank correlation with an exact permutation p-value."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

LARGEST_EXACT = 8
"""All 8! = 40,320 orders are listed; beyond that the t approximation serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """Spearman's rho with a two-sided p-value against "every order of the budgets is as likely".

    The checkpoints of one trajectory share their past, so orders are not exchangeable: p is descriptive.
    """

    rho: float
    p: float
    n: int
    method: str


def spearman(x: Sequence[float], y: Sequence[float]) -> RankCorrelation:
    """Spearman's rho = Pearson's correlation of the average ranks; nan if either is constant or n < 3.

    Raises:
        ValueError: the lengths differ.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} values and y {len(y)}; give one of each a budget")
    n = len(x)
    first, second = _ranks(x), _ranks(y)
    if n < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(rho=math.nan, p=math.nan, n=n, method="undefined: constant, or under 3 budgets")
    rho = float(np.corrcoef(first, second)[0, 1])
    if n <= LARGEST_EXACT:
        return RankCorrelation(rho=rho, p=_exact(first, second), n=n, method="exact permutation test, two-sided")
    return RankCorrelation(rho=rho, p=_approximate(rho, n), n=n, method="t approximation, two-sided")


def _ranks(values: Sequence[float]) -> tuple[float, ...]:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return tuple(((last - counts + 1 + last) / 2)[inverse].tolist())


@lru_cache(maxsize=256)
def _exact(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """The share of orders of `second` whose |rho| is at least the observed one."""
    centred = np.array(first) - np.mean(first)
    products = _orders(len(second))
    covariances = np.array(second)[products] @ centred
    observed = abs(float(np.array(second) @ centred))
    return float(np.mean(np.abs(covariances) >= observed - 1e-9))


@lru_cache(maxsize=8)
def _orders(n: int) -> NDArray[np.int8]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.int8)


def _approximate(rho: float, n: int) -> float:
    if abs(rho) >= 1:
        return 0.0
    t = rho * math.sqrt((n - 2) / (1 - rho * rho))
    return float(2 * stdtr(n - 2, -abs(t)))
