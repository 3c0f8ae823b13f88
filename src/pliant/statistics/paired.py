"""Two scores on the same items: their difference, paired item by item."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import bdtr, stdtrit

from pliant.statistics.estimate import CONFIDENCE
from pliant.statistics.proportion import clopper_pearson


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEstimate:
    """A mean over `n` items with its 95 % interval (nan with one item), and how that was made."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """`difference` is the mean of first - second over the items, with a 95 % t-interval. For right-or-wrong items
    `first_only` and `second_only` count those that one alone gets right, and `p` is the exact two-sided McNemar test
    that both are equally likely; None elsewhere. It speaks of other items of this kind, not of other runs."""

    difference: ItemEstimate
    first_only: int | None
    second_only: int | None
    p: float | None


def over_items(values: Sequence[float]) -> ItemEstimate:
    """The mean over items: Clopper-Pearson where all are 0 or 1, else mean +- t(.975, n-1) s / sqrt(n).

    Raises:
        ValueError: no item was given.
    """
    items = _items(values)
    if _binary(items):
        low, high = clopper_pearson(int(items.sum()), len(items))
        return ItemEstimate(
            value=float(items.mean()), low=low, high=high, n=len(items), method="95 % Clopper-Pearson interval"
        )
    return _mean(items)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """The mean of first - second, item by item.

    Raises:
        ValueError: the two do not have the same number of items, or have none.
    """
    a, b = _items(first), _items(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} items against {len(b)}: a paired difference needs the same items on both sides")
    if not (_binary(a) and _binary(b)):
        return PairedDifference(difference=_mean(a - b), first_only=None, second_only=None, p=None)
    first_only, second_only = int((a > b).sum()), int((b > a).sum())
    differ = first_only + second_only
    p = min(1.0, 2 * float(bdtr(min(first_only, second_only), differ, 0.5))) if differ else 1.0
    return PairedDifference(difference=_mean(a - b), first_only=first_only, second_only=second_only, p=p)


def _items(values: Sequence[float]) -> Float[np.ndarray, " items"]:
    if not len(values):
        raise ValueError("an estimate over items needs at least one, and none was given")
    return np.asarray(values, dtype=np.float64)


def _binary(items: Float[np.ndarray, " items"]) -> bool:
    return bool(np.isin(items, (0.0, 1.0)).all())


def _mean(items: Float[np.ndarray, " items"]) -> ItemEstimate:
    n = len(items)
    value = math.fsum(items) / n
    error = float(items.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error if n > 1 else math.nan
    return ItemEstimate(value=value, low=value - half, high=value + half, n=n, method="95 % t-interval over items")
