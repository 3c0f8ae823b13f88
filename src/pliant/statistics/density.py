"""Solution density: how many noisy copies of a checkpoint still do what it did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pliant.statistics.proportion import clopper_pearson


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """`share` of the noisy copies keep at least `kept` of the base's score.

    [low, high] is the 95 % Clopper-Pearson interval over `n` draws, of this checkpoint at this noise. `caveat` says
    what the number cannot tell, or is empty.
    """

    share: float
    low: float
    high: float
    n: int
    kept: float
    base: float
    caveat: str


def solution_density(
    draws: Sequence[Sequence[float]], *, base: float, kept: float, chance: float | None = None
) -> Density:
    """The share of copies whose score is >= kept x base (Maskey et al., arXiv 2609.08966).

    A draw is one copy, or the two of an antithetic pair, which depend on each other: the pair counts once, as a half
    where one of the two keeps. Scores are accuracies or such: larger is better, 0 is nothing. A diverged copy (nan)
    keeps nothing. `chance` is the score of guessing, if known.

    Raises:
        ValueError: there are no scores, `kept` is not within (0, 1], or the base has no score to keep.
    """
    if not draws or not all(draws):
        raise ValueError("solution density needs the score of at least one noisy copy a draw, and none was given")
    if not 0 < kept <= 1:
        raise ValueError(f"kept is {kept:g}; give the part of the base's score to keep, above 0 and at most 1")
    if not (math.isfinite(base) and base > 0):
        raise ValueError(f"the base scores {base:g}: there is no part of it to keep")
    keeping = math.fsum(sum(score >= kept * base for score in copies) / len(copies) for copies in draws)
    low, high = clopper_pearson(keeping, len(draws))
    return Density(
        share=keeping / len(draws),
        low=low,
        high=high,
        n=len(draws),
        kept=kept,
        base=base,
        caveat=_caveat(base, kept, chance),
    )


def _caveat(base: float, kept: float, chance: float | None) -> str:
    if chance is not None and kept * base <= chance:
        return f"guessing scores {chance:.3g}, which is no less than the {kept * base:.3g} to keep: any copy may pass"
    return ""
