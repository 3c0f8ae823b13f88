"""worse, not worse, or undecided: the rise at the last budget against a margin, and what would decide it."""

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtrit

from pliant.records.units import MARGIN_NATS
from pliant.statistics.estimate import CONFIDENCE, Estimate
from pliant.statistics.lowest import PRICE_OF_CHOICE
from pliant.statistics.minimum import Bounds, Minimum

Verdict = Literal["worse", "not worse", "undecided"]
MOST_REPLICATES = 100
POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on one modified-loss curve. `runs` holds each run's own verdict, by its draws and text.

    `needed` is how many replicates of the first level would probably decide an undecided rise of the size seen:
    None if it is decided, `math.inf` if more than `MOST_REPLICATES` or if the rise seems to be the margin itself.
    """

    verdict: Verdict
    conditional: bool
    margin: float
    needed: float | None
    runs: tuple[Verdict, ...]

    @property
    def words(self) -> str:
        """The verdict as shown: a verdict from one run says so."""
        decided_here = self.conditional and self.verdict != "undecided"
        return f"{self.verdict} in this run" if decided_here else self.verdict


def judge(minimum: Minimum, *, margin: float = MARGIN_NATS) -> Judgement:
    """worse: the one-sided 95 % lower bound of the rise lies above `margin`; not worse: the upper bound does not.

    Raises:
        ValueError: `margin` is negative or not finite.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}; give a finite non-negative loss in nats")
    verdict = _verdict(minimum.bounds, margin)
    return Judgement(
        verdict=verdict,
        conditional=minimum.rise.conditional,
        margin=margin,
        needed=_needed(minimum.rise, minimum.bounds, margin) if verdict == "undecided" else None,
        runs=tuple(_verdict(seed.bounds, margin) for seed in minimum.seeds),
    )


def _verdict(bounds: Bounds, margin: float) -> Verdict:
    if bounds.at_least > margin:
        return "worse"
    return "not worse" if bounds.at_most <= margin else "undecided"


def _needed(rise: Estimate, bounds: Bounds, margin: float) -> float:
    """Replicates n, in all, that decide with a chance of `POWER` if the rise is as it seems and errors fall as n^-1/2.

    (t(.95, price-adjusted, n-1) + t(POWER, n-1)) x error(n) is at most the distance from the margin: of the cautious
    difference where it lies above the margin, of the difference of means where that lies below.
    """
    n, error = rise.n, rise.standard_error
    quantile_now = float(stdtrit(n - 1, 1 - (1 - CONFIDENCE) / PRICE_OF_CHOICE)) if n > 1 else math.nan
    cautious = bounds.at_least + quantile_now * error
    distance = max(cautious - margin, margin - rise.value)
    if not error > 0 or not distance > 0:
        return math.inf
    for more in range(n + 1, MOST_REPLICATES + 1):
        quantile = float(stdtrit(more - 1, 1 - (1 - CONFIDENCE) / PRICE_OF_CHOICE) + stdtrit(more - 1, POWER))
        if quantile * error * math.sqrt(n / more) <= distance:
            return more
    return math.inf
