"""What learning the same amount costs: the lowest pre-training loss among rates that reach one task loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.statistics.tuned import RatePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedLearning:
    """`task_loss` is the target tau; `chosen`: budget -> the rate that reaches it and forgets least."""

    task_loss: float
    chosen: Mapping[float, RatePoint]


def matched_learning(sweeps: Mapping[float, Sequence[RatePoint]]) -> MatchedLearning:
    """The lowest pre-training loss at each budget among the rates with validation task loss <= tau.

    tau is the worst budget's best validation task loss: every budget reaches it. `sweeps` maps a budget to
    the rates of one run.

    Raises:
        ValueError: a budget has no rate that did not diverge.
    """
    good = {b: [p for p in points if not p.diverged and p.rate > 0] for b, points in sweeps.items()}
    if empty := [budget for budget, points in good.items() if not points]:
        raise ValueError(f"no rate is left at {empty[0]:g} tokens: all diverged; add smaller rates")
    tau = max(min(p.validation_task_loss for p in points) for points in good.values())
    reached = {b: [p for p in points if p.validation_task_loss <= tau] for b, points in good.items()}
    chosen = {b: min(points, key=lambda p: p.pretraining_loss) for b, points in reached.items()}
    return MatchedLearning(task_loss=tau, chosen=chosen)
