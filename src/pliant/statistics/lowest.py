"""Does one budget lie above the lowest of the others: a lower and an upper bound that survive the choice of the lowest.

The difference between a given budget and "the lowest of the others" is easy to get wrong: the lowest of several
noisy means is too low. Here each replicate (a pre-training run, a draw, a group of blocks) is compared with budgets
that the *other* replicates chose, so its own noise has no part in the choice.

Arrays carry any number of leading axes, so that thousands of simulated ladders are judged in one call; the last
two are (replicates, budgets).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from pliant.statistics.estimate import CONFIDENCE

Rows = Float[np.ndarray, "*batch n budgets"]
Text = Float[np.ndarray, "*batch groups budgets"]
Array = NDArray[np.float64]

SOFTNESS = 2.0
"""A budget this many standard errors above the lowest weighs exp(-1/2) in "the lowest of the others"."""
REACH = 4.0
"""Budgets farther than this many standard errors above the lowest have no weight in it."""
CANDIDATES = 1.75
"""Budgets nearer than this to the lowest, in pooled or own standard errors, may be it: they bound from above."""
PRICE_OF_CHOICE = 1.2
"""p-values are multiplied by this: with two or three replicates the choice still costs up to a fifth of the level
(docs/calibration.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboveLowest:
    """How far one budget lies above the lowest of the others: R = f(column) - min over the others of f.

    `value` is the difference of means, whose choice of the lowest makes it too large; `cautious` the cross-fitted
    difference, whose mean is at most R. Differences from each other budget have means `gaps` and standard errors
    `gap_errors`; `candidates` marks the others that may be the lowest.
    """

    value: Array
    cautious: Array
    standard_error: Array
    degrees_of_freedom: Array
    gaps: Array
    gap_errors: Array
    gap_degrees_of_freedom: Array
    candidates: NDArray[np.bool_]

    def p(self, margin: float = 0.0) -> Array:
        """One-sided p-value of R <= margin, from Student's t and times `PRICE_OF_CHOICE`."""
        t = _ratio(np.asarray(self.cautious - margin), self.standard_error)
        return np.asarray(np.minimum(PRICE_OF_CHOICE * stdtr(self.degrees_of_freedom, -t), 1.0))

    def lower(self, level: float, *, price: float = 1.0) -> Array:
        """A bound that R exceeds with probability `level`; the miss probability is divided by `price`."""
        quantile = stdtrit(self.degrees_of_freedom, 1 - (1 - level) / price)
        return np.asarray(self.cautious - quantile * self.standard_error)

    def at_least(self) -> Array:
        """The one-sided 95 % lower bound that a verdict goes by: it pays the price of choice."""
        return self.lower(CONFIDENCE, price=PRICE_OF_CHOICE)

    def at_most(self) -> Array:
        """The one-sided 95 % upper bound that a verdict goes by."""
        return self.upper(CONFIDENCE)

    def half_width(self) -> Array:
        """How far `at_least` lies below the cautious difference."""
        return np.asarray(self.cautious - self.at_least())

    def upper(self, level: float) -> Array:
        """A bound that R stays below with probability `level`: the largest bound of any candidate's difference.

        R is the largest of the differences, so it lies below u where every one of them does: no adjustment for
        their number is needed.
        """
        bounds = self.gaps + stdtrit(self.gap_degrees_of_freedom, level) * self.gap_errors
        return np.asarray(np.max(np.where(self.candidates, bounds, -np.inf), axis=-1))


def above_lowest(rows: Rows, text: Text | None, column: int) -> AboveLowest:
    """Compare budget `column` with the lowest of the other budgets.

    For replicate s the others choose soft weights w(-s), w_k ~ exp(-g_k^2 / (2 SOFTNESS^2)) for g_k <= REACH, with
    g_k the height of budget k above the lowest in units of the standard error of such a difference. Then

        z_s = y_s,column - sum_k w(-s)_k y_s,k

    has mean at most R whatever was chosen, and is exactly that of a fixed contrast where one budget is clearly the
    lowest. The mean of z gets Student's t over replicates: no equal variances, no independence between budgets is
    assumed. `text` holds replicates of a second source (groups of held-out blocks, common to all rows); its
    variance is added, each group is compared at a choice made without it, and degrees of freedom follow Welch and
    Satterthwaite.

    Args:
        rows: one curve a replicate, at least two of each.
        text: curves of groups of blocks, or None.
        column: the budget in question.

    Raises:
        ValueError: fewer than two replicates or budgets.

    Source: cross-fitting after selection; own construction, calibrated in docs/calibration.md.
    """
    n, budgets = rows.shape[-2:]
    if n < 2 or budgets < 2:
        raise ValueError(f"{n} replicates at {budgets} budgets cannot be compared; two or more of each are needed")
    others = [k for k in range(budgets) if k != column]
    noise = _interaction_variance(rows)
    shared = 0.0 if text is None else _interaction_variance(text) / text.shape[-2]
    rest = rows[..., others]
    mean = rows.mean(axis=-2)
    left_out = (rest.sum(axis=-2)[..., None, :] - rest) / (n - 1)
    spread = np.asarray(np.sqrt(2 * (noise / (n - 1) + shared)))
    if text is None:
        weights = _soft_lowest(left_out, spread[..., None, None])
        z, z_text = rows[..., column] - (weights * rest).sum(axis=-1), None
    else:
        each = _each_text(rows, text, column, others, left_out, spread)
        z, z_text = each.mean(axis=-1), each.mean(axis=-2)
    error, freedom = standard_error(z, z_text)
    gap_error, gap_freedom = standard_error(
        np.moveaxis(rows[..., column, None] - rest, -1, -2),
        None if text is None else np.moveaxis(text[..., column, None] - text[..., others], -1, -2),
    )
    heights = np.minimum(
        _heights(mean[..., others], np.asarray(np.sqrt(2 * (noise / n + shared)))[..., None]),
        _own_heights(rest, None if text is None else text[..., others]),
    )
    gaps = mean[..., column, None] - mean[..., others]
    return AboveLowest(
        value=np.asarray(gaps.max(axis=-1)),
        cautious=np.asarray(z.mean(axis=-1)),
        standard_error=error,
        degrees_of_freedom=freedom,
        gaps=gaps,
        gap_errors=gap_error,
        gap_degrees_of_freedom=gap_freedom,
        candidates=heights <= CANDIDATES,
    )


def _each_text(rows: Array, text: Array, column: int, others: list[int], left_out: Array, spread: Array) -> Array:
    """z for every replicate and group of text, (..., n, groups): neither of the two has a part in its own choice."""
    g = text.shape[-2]
    here = text - text.mean(axis=-2, keepdims=True)
    elsewhere = -here[..., others] / (g - 1)
    weights = _soft_lowest(left_out[..., :, None, :] + elsewhere[..., None, :, :], spread[..., None, None, None])
    curves = rows[..., :, None, :] + here[..., None, :, :]
    return np.asarray(curves[..., column] - (weights * curves[..., others]).sum(axis=-1))


def _interaction_variance(rows: Array) -> Array:
    """The variance of replicate x budget: what is left when the means of both are taken out."""
    n, budgets = rows.shape[-2:]
    left = rows - rows.mean(axis=-2, keepdims=True)
    left = left - left.mean(axis=-1, keepdims=True)
    return np.asarray((left**2).sum(axis=(-2, -1)) / ((n - 1) * (budgets - 1)))


def _heights(means: Array, spread: Array) -> Array:
    """Each mean above the lowest of the last axis, in units of `spread`."""
    return _ratio(means - means.min(axis=-1, keepdims=True), np.broadcast_to(spread, means.shape))


def _own_heights(rest: Array, text: Array | None) -> Array:
    """Each mean above the lowest in units of the standard error of that difference: one budget may be noisier."""
    means = rest.mean(axis=-2)
    lowest = means.argmin(axis=-1)[..., None]

    def above(values: Array) -> Array:
        at = np.broadcast_to(lowest[..., None, :], (*values.shape[:-1], 1))
        return np.moveaxis(values - np.take_along_axis(values, at, axis=-1), -1, -2)

    error, _ = standard_error(above(rest), None if text is None else above(text))
    return _ratio(np.asarray(means - np.take_along_axis(means, lowest, axis=-1)), error)


def _soft_lowest(means: Array, spread: Array) -> Array:
    heights = _heights(means, spread)
    weights = np.exp(-0.5 * (heights / SOFTNESS) ** 2) * (heights <= REACH)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def standard_error(z: Array, z_text: Array | None) -> tuple[Array, Array]:
    """The standard error of the mean over the last axis and its degrees of freedom, a second source added.

    var(z) / n + var(z_text) / g, with Welch's and Satterthwaite's degrees of freedom; n - 1 where both vanish.
    """
    n = z.shape[-1]
    variance = z.var(axis=-1, ddof=1) / n
    if z_text is None:
        return np.asarray(np.sqrt(variance)), np.full(np.shape(variance), float(n - 1))
    g = z_text.shape[-1]
    shared = z_text.var(axis=-1, ddof=1) / g
    both = variance + shared
    freedom = _ratio(np.asarray(both**2), np.asarray(variance**2 / (n - 1) + shared**2 / (g - 1)))
    return np.asarray(np.sqrt(both)), np.where(both > 0, freedom, float(n - 1))


def _ratio(top: Array, bottom: Array) -> Array:
    """top / bottom; 0 where both are 0, infinite with the sign of `top` where only `bottom` is."""
    safe = np.where(bottom > 0, bottom, 1.0)
    beyond = np.where(top == 0, 0.0, np.copysign(np.inf, top))
    return np.where(bottom > 0, top / safe, beyond)
