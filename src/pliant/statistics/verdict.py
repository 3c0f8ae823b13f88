"""worse, not worse, or undecided: the rise at the last budget against a margin."""

from dataclasses import dataclass
from typing import Literal

from pliant.statistics.estimate import Estimate
from pliant.statistics.minimum import Minimum

Verdict = Literal["worse", "not worse", "undecided"]
MARGIN_NATS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on one modified-loss curve. `runs` holds each run's own verdict, by its draws."""

    verdict: Verdict
    conditional: bool
    margin: float
    runs: tuple[Verdict, ...]

    @property
    def words(self) -> str:
        """The verdict as shown: a verdict from one run says so."""
        decided_here = self.conditional and self.verdict != "undecided"
        return f"{self.verdict} in this run" if decided_here else self.verdict


def judge(minimum: Minimum, *, margin: float = MARGIN_NATS) -> Judgement:
    """worse: the interval of the rise lies above `margin`; not worse: below it; else undecided.

    Raises:
        ValueError: `margin` is negative.
    """
    if margin < 0:
        raise ValueError(f"margin is {margin}; give a non-negative loss in nats")
    return Judgement(
        verdict=_verdict(minimum.rise, margin),
        conditional=minimum.rise.conditional,
        margin=margin,
        runs=tuple(_verdict(seed.rise, margin) for seed in minimum.seeds),
    )


def _verdict(rise: Estimate, margin: float) -> Verdict:
    if not rise.has_interval:
        return "undecided"
    if rise.low > margin:
        return "worse"
    return "not worse" if rise.high < margin else "undecided"
