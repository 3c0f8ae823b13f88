"""The replicates behind a curve: pre-training seeds, draws within one run, groups of held-out text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Level

TEXT_GROUPS = 10
"""Held-out blocks are taken in this many runs of neighbours, which may come from one document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """`rows` holds one curve a replicate of the first level, `text` one a group of text if that is a second level."""

    rows: Float[np.ndarray, "n budgets"]
    text: Float[np.ndarray, "groups budgets"] | None
    levels: tuple[Level, ...]


def replicates(curve: Curve) -> Replicates:
    """The replicates of a curve whose seeds were all measured at every budget.

    Two or more pre-training seeds are the replicates; each brings its own noise draws, which share nothing with those
    of another run. One seed: the draws that all budgets share, and where there are not two of them the text. All
    runs are evaluated on the same text, so its scatter is a second source whatever the first.
    """
    seeds, budgets = curve.seeds, curve.budgets
    text = _text(curve)
    if len(seeds) > 1:
        return _with_text(curve.values(), text, "pre-training seeds")
    shared = _shared_draws(curve)
    if len(shared) > 1:
        rows = np.array([[curve.draws[seeds[0], budget][draw] for budget in budgets] for draw in shared])
        return _with_text(rows, text, "draws")
    if text is not None:
        return Replicates(rows=text, text=None, levels=("held-out text",))
    return Replicates(rows=curve.values(), text=None, levels=())


def _with_text(rows: Float[np.ndarray, "n budgets"], text: np.ndarray | None, level: Level) -> Replicates:
    levels: tuple[Level, ...] = (level,) if text is None else (level, "held-out text")
    return Replicates(rows=rows, text=text, levels=levels)


def _shared_draws(curve: Curve) -> list[object]:
    first, *others = (curve.draws[curve.seeds[0], budget] for budget in curve.budgets)
    return [draw for draw in first if all(draw in other for other in others)]


def _text(curve: Curve) -> Float[np.ndarray, "groups budgets"] | None:
    """Pseudo-values averaged over seeds; None unless every point has the same number of groups, two or more."""
    points = [[curve.text.get((seed, budget), ()) for budget in curve.budgets] for seed in curve.seeds]
    sizes = {len(groups) for row in points for groups in row}
    if len(sizes) != 1 or min(sizes) < 2:
        return None
    return np.asarray(np.array(points).mean(axis=0).T)


def pseudo_values(whole: float, left_out: Sequence[float]) -> tuple[float, ...]:
    """G x whole - (G - 1) x left_out[g] for each of G groups: the delete-a-group jackknife.

    Their mean estimates the quantity and their variance / G its variance, for any smooth function of the text;
    choices made on the text (a learning rate) are made again without each group.

    Source: Tukey's jackknife.
    """
    g = len(left_out)
    return tuple(g * whole - (g - 1) * value for value in left_out)


def group_sums(blocks: Sequence[float], count: Sequence[int]) -> tuple[tuple[float, int], ...]:
    """(sum of losses, tokens) of each of `TEXT_GROUPS` runs of neighbouring blocks; empty under two blocks a group."""
    if len(blocks) < 2 * TEXT_GROUPS or len(blocks) != len(count):
        return ()
    sums = np.add.reduceat(np.asarray(blocks, dtype=float), _starts(len(blocks))).tolist()
    return tuple(zip(sums, _group_counts(count if isinstance(count, tuple) else tuple(count)), strict=True))


@lru_cache
def _starts(blocks: int) -> list[int]:
    return [blocks * group // TEXT_GROUPS for group in range(TEXT_GROUPS)]


@lru_cache
def _group_counts(count: tuple[int, ...]) -> list[int]:
    """Nearly all losses of a study are of the same text."""
    found: list[int] = np.add.reduceat(np.asarray(count, dtype=int), _starts(len(count))).tolist()
    return found


def without_each(groups: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    """The mean loss without each group in turn."""
    total, tokens = sum([s for s, _ in groups]), sum([c for _, c in groups])
    return tuple([(total - s) / (tokens - c) for s, c in groups])
