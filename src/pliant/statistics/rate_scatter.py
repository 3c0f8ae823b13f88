"""How ruggedly losses lie about a parabola in log rate: what a prediction between tried rates can be trusted with."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pliant.statistics.tuned import parabola_weights

FEWEST_MISSES = 8
"""Before the scatter is known; until then no interval is narrow."""


def scatter_of(sweeps: Iterable[Mapping[float, float]]) -> float:
    """The standard deviation of validation losses about parabolas in log rate, in nats; infinite where not known.

    `sweeps` are rate -> loss of one checkpoint each. Each rate that has one tried below and one above it is predicted
    by the parabola through the three nearest others; its miss is divided by sqrt(1 + sum of squared weights), and the
    median of the sizes by .6745, as for normal errors.
    """
    misses = [miss for losses in sweeps for miss in _misses(losses)]
    return float(np.median(np.abs(misses))) / 0.6745 if len(misses) >= FEWEST_MISSES else math.inf


def _misses(losses: Mapping[float, float]) -> list[float]:
    rising = sorted(losses)
    found = []
    for rate in rising[1:-1] if len(rising) > 3 else []:
        nearest = sorted((r for r in rising if r != rate), key=lambda r: abs(math.log(r / rate)))[:3]
        weights = parabola_weights([math.log(r) for r in nearest], math.log(rate))
        predicted = math.fsum(w * losses[r] for w, r in zip(weights, nearest, strict=True))
        found.append((losses[rate] - predicted) / prediction_error(weights))
    return found


def prediction_error(weights: Sequence[float]) -> float:
    """Of a new loss predicted by the parabola through three with these weights, in units of the scatter."""
    return math.sqrt(1 + math.fsum(w * w for w in weights))
