"""Draws that were each measured on one part of the text, in turn: their mean, and text, as if on the whole of it."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from pliant.statistics.estimate import CONFIDENCE

Parts = Mapping[Hashable, Mapping[Hashable, float]]
"""part of the text -> draw -> loss there"""


def levelled(parts: Parts, tokens: Mapping[Hashable, int]) -> dict[Hashable, float]:
    """One value a draw, whose mean is the loss on the whole text and whose scatter is that of the noise alone.

    The mean is sum_k w_k m_k, with m_k the mean of the draws measured on part k and w_k its share of the tokens: what
    parts differ in cancels. A draw keeps its distance from the mean of its own part. With K parts that leaves n - K
    degrees of freedom, and distances are stretched by what makes Student's interval over the n values as wide as that:
    sqrt((n - 1) / (n - K)) t(n - K) / t(n - 1).

    Raises:
        ValueError: a part with fewer than two draws, of whose scatter nothing is known.
    """
    n = sum(len(draws) for draws in parts.values())
    if few := next((draws for draws in parts.values() if len(draws) < 2), None):
        raise ValueError(
            f"draw {next(iter(few))!r} is the only one on its part of the text; give each part two or more"
        )
    share = {part: tokens[part] / sum(tokens.values()) for part in parts}
    means = {part: math.fsum(draws.values()) / len(draws) for part, draws in parts.items()}
    whole = math.fsum(share[part] * means[part] for part in parts)
    stretch = _stretch(n, len(parts))
    return {
        draw: whole + stretch * share[part] * n / len(draws) * (loss - means[part])
        for part, draws in parts.items()
        for draw, loss in draws.items()
    }


def _stretch(n: int, parts: int) -> float:
    upper = (1 + CONFIDENCE) / 2
    wider = float(stdtrit(n - parts, upper) / stdtrit(n - 1, upper))
    return wider * math.sqrt((n - 1) / (n - parts))


def centred(
    sums: Float[np.ndarray, " blocks"], count: Int[np.ndarray, " blocks"], parts: Sequence[Sequence[int]]
) -> tuple[Float[np.ndarray, " blocks"], float]:
    """Sums of losses a block of text as if all draws had been measured on all blocks, and what is left to stretch.

    Blocks of one part share their draws, those of different parts do not: so each part is moved to the common mean,
    and its blocks' distances from one another stay. Of B blocks in K parts that leaves B - K degrees of freedom; the
    second value is sqrt((B - 1) / (B - K)). Parts of one block are left as they are: there is no distance in them.
    """
    if len(sums) < 2 * len(parts):
        return sums, 1.0
    whole = sums.sum() / count.sum()
    moved = sums.copy()
    for part in map(list, parts):
        moved[part] += count[part] * (whole - sums[part].sum() / count[part].sum())
    return moved, math.sqrt((len(sums) - 1) / (len(sums) - len(parts)))
