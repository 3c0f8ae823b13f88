"""What a way of fine-tuning costs on the task, what it saves of pre-training, and whether it moves the turn."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pliant.statistics.combination import mean_over_budgets
from pliant.statistics.curve import Curve
from pliant.statistics.estimate import Estimate
from pliant.statistics.minimum import Minimum, locate_minimum
from pliant.statistics.rate_choice import Losses, curve_of, matched_differences
from pliant.statistics.sensitivity import sensitivity
from pliant.statistics.sweep import Sweep

Shift = Literal["later", "earlier", "not resolved"]
Change = Literal["higher", "lower", "not resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A loss of one way of fine-tuning minus that of another, paired by run, nats per token.

    At the last budget that either was tried at, and averaged over all budgets; None where no run has both there.
    """

    last: Estimate | None
    mean: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One way of fine-tuning minus plain, each at its own tuned rate.

    `task_loss` is the price, `pretraining_loss` what it saves (negative) and `matched` the same at a task loss that
    both reach: the worse, at each run and budget, of their best validation task losses.
    """

    budgets: tuple[float, ...]
    task_loss: Difference
    pretraining_loss: Difference
    matched: Difference


def price(method: Sweep, plain: Sweep) -> Price:
    """What `method` costs and saves against `plain`, fine-tuned on the same task from the same checkpoints."""
    budgets = tuple(sorted({*method.budgets, *plain.budgets}))

    def difference(curve: Curve) -> Difference:
        return Difference(last=mean_over_budgets(curve, budgets[-1:]), mean=mean_over_budgets(curve, budgets))

    return Price(
        budgets=budgets,
        task_loss=difference(_paired(method, plain, lambda chosen: chosen.task_loss)),
        pretraining_loss=difference(_paired(method, plain, lambda chosen: chosen.pretraining_loss)),
        matched=difference(_matched(method, plain)),
    )


def tuned_minimum(sweep: Sweep, of: Callable[[Losses], float]) -> Minimum | None:
    """Where a loss at the tuned rate is lowest; None under two budgets, or if no run has them all."""
    curve = sweep.curve(of)
    return locate_minimum(curve) if len(curve.budgets) > 1 and curve.complete().seeds else None


def shift(before: Minimum | None, after: Minimum | None) -> Shift:
    """Whether a minimum moved: "later" if every budget that may be the lowest after lies behind every one before.

    Each set misses its minimum one time in twenty, so a move that is not there is seen at most about one time in ten.
    A minimum that may lie at the end of the range cannot be seen to move beyond it.
    """
    if before is None or after is None:
        return "not resolved"
    if min(after.candidates) > max(before.candidates):
        return "later"
    return "earlier" if max(after.candidates) < min(before.candidates) else "not resolved"


def shift_with_amount(minima: Sequence[Minimum | None]) -> Shift:
    """The same as an amount grows: the first against the last, unless two neighbours moved the other way."""
    whole = shift(minima[0], minima[-1])
    steps = {shift(before, after) for before, after in itertools.pairwise(minima)}
    return "not resolved" if whole == "not resolved" or {"later", "earlier"} <= {whole, *steps} else whole


def change(estimate: Estimate | None) -> Change:
    """Whether the 95 % interval of a difference excludes zero."""
    if estimate is None or not estimate.has_interval:
        return "not resolved"
    if estimate.low > 0:
        return "higher"
    return "lower" if estimate.high < 0 else "not resolved"


def _paired(method: Sweep, plain: Sweep, of: Callable[[Losses], float]) -> Curve:
    return sensitivity(method.curve(of), plain.curve(of))


def _matched(method: Sweep, plain: Sweep) -> Curve:
    each = zip(method.rates_without, plain.rates_without, strict=False)
    without = [matched_differences(mine, other) for mine, other in each]
    return curve_of("matched", matched_differences(method.rates, plain.rates), without)
