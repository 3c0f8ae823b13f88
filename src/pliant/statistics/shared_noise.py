"""Noise of two strengths made of the same draws: the many draws of the smaller one sharpen the few of the larger."""

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import stdtrit

from pliant.statistics.curve import Draws
from pliant.statistics.estimate import CONFIDENCE

FEWEST = 8
"""Draws that both strengths have: the slope of the line is estimated from them."""
WINS = 0.9
"""The interval must become this much narrower: below, choosing by the width would mostly choose by chance."""


def borrowed(draws: Draws, smaller: Draws) -> Draws:
    """The draws of one strength with the mean that the further draws of a smaller strength suggest.

    Regression in double sampling: y of the n draws that both have is fitted by a line in x, and the mean becomes
    y_n + b (x_N - x_n), with x_N the mean over all N draws of the smaller strength. Its variance is
    s_r^2 (1/n + (x_N - x_n)^2 / S_xx) + (s_y^2 - s_r^2) / N with n - 2 degrees of freedom, where s_r is the scatter
    about the line: the first term holds what estimating b costs. Distances from the mean are rescaled so that
    Student's interval over the n values is as wide as this one. The draws are returned as they are where `smaller`
    lacks one of them, has no more, or would not make the interval narrower.

    Source: Cochran, Sampling Techniques, 3rd edition (1977), section 12.6.
    """
    shared = [draw for draw in draws if draw in smaller]
    n, many = len(draws), len(smaller)
    if len(shared) < n or n < FEWEST or many <= n:
        return draws
    y, x = np.array([draws[d] for d in shared]), np.array([smaller[d] for d in shared])
    beyond = math.fsum(smaller.values()) / many - x.mean()
    spread = float(((x - x.mean()) ** 2).sum())
    if spread == 0:
        return draws
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    about = float(((y - y.mean() - slope * (x - x.mean())) ** 2).sum()) / (n - 2)
    plain = float(y.var(ddof=1))
    variance = about * (1 / n + beyond**2 / spread) + max(0.0, plain - about) / many
    narrower = math.sqrt(variance / (plain / n)) * _quantile(n - 2) / _quantile(n - 1) if plain > 0 else math.inf
    if narrower > WINS:
        return draws
    return _moved(draws, float(y.mean()), float(slope * beyond), narrower)


def _moved(draws: Draws, mean: float, by: float, narrower: float) -> Mapping[object, float]:
    return {draw: mean + by + narrower * (value - mean) for draw, value in draws.items()}


def _quantile(degrees_of_freedom: int) -> float:
    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
