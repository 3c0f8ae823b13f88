"""What learning the same amount costs: the lowest pre-training loss among rates that reach one task loss."""

from collections.abc import Iterable, Mapping, Sequence
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
    good = {b: _good(points) for b, points in sweeps.items()}
    if empty := [budget for budget, points in good.items() if not points]:
        raise ValueError(f"no rate is left at {empty[0]:g} tokens: all diverged; add smaller rates")
    tau = _reached_by_all(good.values())
    return MatchedLearning(task_loss=tau, chosen={b: _keeps_most(points, tau) for b, points in good.items()})


def matched_pair(first: Sequence[RatePoint], second: Sequence[RatePoint]) -> tuple[RatePoint, RatePoint]:
    """The same for two ways of fine-tuning one checkpoint: tau is the worse of their best validation task losses.

    Either must have a rate that did not diverge.
    """
    good = (_good(first), _good(second))
    tau = _reached_by_all(good)
    return _keeps_most(good[0], tau), _keeps_most(good[1], tau)


def _good(points: Sequence[RatePoint]) -> list[RatePoint]:
    return [p for p in points if not p.diverged and p.rate > 0]


def _reached_by_all(sweeps: Iterable[Sequence[RatePoint]]) -> float:
    return max(min(p.validation_task_loss for p in points) for points in sweeps)


def _keeps_most(points: Sequence[RatePoint], tau: float) -> RatePoint:
    return min((p for p in points if p.validation_task_loss <= tau), key=lambda p: p.pretraining_loss)
