"""The learning-forgetting frontier: what each amount of learning costs, and the area it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.statistics.tuned import RatePoint, tune

Pair = tuple[float, float]
"""(task loss, pre-training loss), nats per token"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The points of one checkpoint that no other beats in both losses, task loss rising.

    `hypervolume` is the area between the frontier and `reference`, in squared nats: larger is better. It compares
    checkpoints only under a common reference.
    """

    points: tuple[Pair, ...]
    reference: Pair
    hypervolume: float


def frontiers(sweeps: Mapping[float, Sequence[RatePoint]]) -> dict[float, Frontier]:
    """The frontier of every budget of one run, under one reference.

    The reference is the worst task loss and the worst pre-training loss among all points of the run at rates up to
    the tuned one: rates beyond it only destroy, and would stretch the area without bound.

    Raises:
        ValueError: at a budget every rate diverged.
    """
    kept = {budget: _learning_side(points) for budget, points in sweeps.items()}
    everything = [pair for pairs in kept.values() for pair in pairs]
    reference = (max(task for task, _ in everything), max(forgot for _, forgot in everything))
    return {budget: _frontier(pairs, reference) for budget, pairs in kept.items()}


def _learning_side(points: Sequence[RatePoint]) -> list[Pair]:
    best = tune(points).rate
    return [(p.task_loss, p.pretraining_loss) for p in points if not p.diverged and 0 < p.rate <= best]


def _frontier(pairs: Sequence[Pair], reference: Pair) -> Frontier:
    kept: list[Pair] = []
    for task, forgot in sorted(pairs):
        if not kept or forgot < kept[-1][1]:
            kept.append((task, forgot))
    area, right = 0.0, reference[0]
    for task, forgot in reversed(kept):
        area += (right - task) * (reference[1] - forgot)
        right = task
    return Frontier(points=tuple(kept), reference=reference, hypervolume=area)
