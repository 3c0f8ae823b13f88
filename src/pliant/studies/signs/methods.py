"""Rules about holding on to the base while fine-tuning: its price, what it saves, and where the loss turns."""

from collections.abc import Sequence
from typing import Literal

from pliant.records.units import format_tokens
from pliant.statistics import (
    Estimate,
    Minimum,
    Price,
    Sweep,
    locate_minimum,
    price,
    shift_with_amount,
)
from pliant.studies.signs.judged import Judged, Measured, Rule, positive, shown, three_way

Side = Literal["task loss", "pre-training loss", "matched"]


def costs(method: str, side: Side, sign: int) -> Rule:
    """At the last budget the largest amount of `method` minus plain, both at their tuned rates, has the `sign`."""

    def rule(found: Measured) -> Judged:
        plain, amounts = _of(method, found)
        return positive(_last(price(amounts[-1], plain), side), sign)

    return rule


def turns_later(method: str, rate: float) -> Rule:
    """The minimum over budgets of pre-training loss at a fixed rate moves later from plain to the largest amount.

    Agrees if the 95 % sets part that way, disagrees if they part the other way.
    """

    def rule(found: Measured) -> Judged:
        plain, amounts = _of(method, found)
        fixed = {
            key.label: series.curve()
            for key, series in found.series.items()
            if key.evaluation == "pretraining-loss" and key.modification == "fine-tune" and key.strength == rate
        }
        minima = [locate_minimum(fixed[sweep.label]) for sweep in (plain, *amounts)]
        moved = shift_with_amount(minima)
        evidence = "; ".join(f"{name}: {_place(m)}" for name, m in zip(_names(amounts), minima, strict=True))
        return three_way(moved == "later", moved == "earlier"), moved, evidence

    return rule


def _of(method: str, found: Measured) -> tuple[Sweep, tuple[Sweep, ...]]:
    """The plain sweep, and those of `method` that are otherwise the same, amounts rising."""
    every = found.sweeps
    mine = sorted((sweep for sweep in every if sweep.method == method), key=lambda sweep: sweep.amount or 0.0)
    wanted = {(sweep.task, sweep.plain_label) for sweep in mine}
    if len(wanted) > 1:
        raise ValueError(f"{method} was run on several: {', '.join(sorted(label for _, label in wanted))}")
    plain = [sweep for sweep in every if sweep.method is None and (sweep.task, sweep.label) in wanted]
    if not plain or not mine:
        raise ValueError(f"plain fine-tuning and {method} were not both run")
    return plain[0], tuple(mine)


def _last(found: Price, side: Side) -> Estimate:
    of = {"task loss": found.task_loss, "pre-training loss": found.pretraining_loss, "matched": found.matched}
    estimate = of[side].last
    if estimate is None:
        raise ValueError("no run has both at the last budget")
    return estimate


def _names(amounts: Sequence[Sweep]) -> list[str]:
    return ["plain", *(f"{sweep.amount:g}" for sweep in amounts)]


def _place(minimum: Minimum) -> str:
    low, high = min(minimum.candidates), max(minimum.candidates)
    span = f"[{format_tokens(low)}, {format_tokens(high)}]"
    return f"{format_tokens(minimum.budget)} {span}, rise {shown(minimum.rise)}"
