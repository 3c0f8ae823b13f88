"""How often the intervals of the noise benchmark hold, each drawn and stopped anew from the draws that were made."""

import math
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pliant.benchmarks.noise_contestants import Found
from pliant.benchmarks.peers import half_spread
from pliant.statistics import draws_to_precision
from pliant.statistics.estimate import CONFIDENCE
from pliant.statistics.precision import FEWEST_EVALUATIONS
from pliant.statistics.rotation import Parts, levelled

Pool = NDArray[np.float64]


def coverage(found: Found, precision: float, repeats: int) -> float:
    """How often the interval, stopped as it is, holds the mean of the draws that it is drawn from anew, with
    replacement, in per cent."""
    random = np.random.default_rng(0)
    pools = [np.array(part) for part in found.parts]
    truth = float(np.mean([pool.mean() for pool in pools]))
    run = _again_whole if len(pools) == 1 else _again_rotating
    hits = sum(abs(value - truth) <= half for value, half in (run(pools, precision, random) for _ in range(repeats)))
    return 100 * hits / repeats


def _again_whole(pools: list[Pool], precision: float, random: np.random.Generator) -> tuple[float, float]:
    drawn = random.choice(pools[0], size=4 * len(pools[0]) + FEWEST_EVALUATIONS)
    n = np.arange(1, len(drawn) + 1)
    mean = drawn.cumsum() / n
    scatter = np.sqrt(np.maximum((drawn**2).cumsum() / n - mean**2, 0) / np.maximum(n - 1, 1))
    half = stdtrit(np.maximum(n - 1, 1), (1 + CONFIDENCE) / 2) * scatter
    enough = (n >= FEWEST_EVALUATIONS) & (half <= precision * np.abs(mean))
    at = int(enough.argmax()) if enough.any() else len(drawn) - 1
    return float(mean[at]), float(half[at])


def _again_rotating(pools: list[Pool], precision: float, random: np.random.Generator) -> tuple[float, float]:
    drawn: list[list[float]] = [[] for _ in pools]
    have, wanted = 0, 2 * len(pools)
    while have < wanted:
        more = 2 * math.ceil((wanted - have) / (2 * len(pools)))
        drawn = [mine + random.choice(pool, size=more).tolist() for mine, pool in zip(drawn, pools, strict=True)]
        parts: Parts = {k: {(k, d): value for d, value in enumerate(mine)} for k, mine in enumerate(drawn)}
        increases = list(levelled(parts, dict.fromkeys(parts, 1)).values())
        have = len(increases)
        wanted = draws_to_precision(increases, precision=precision, copies=1, most=20 * sum(map(len, pools)))
    return fmean(increases), half_spread(increases)
