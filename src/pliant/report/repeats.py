"""One task fine-tuned for several numbers of steps: what repeating a small task does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.report.grid import Cell, Grid, loss_cell, named
from pliant.report.methods import lowest_words
from pliant.report.study import Study, budget_name, capital
from pliant.report.unit import Unit, rate
from pliant.statistics import Curve, Estimate, Minimum, Sweep, mean_over_budgets, tuned_minimum

_LENGTH = re.compile(r", [0-9.e+-]+ (steps|epochs)(?=,|$)")
"""The part of a fine-tuning label that says how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsRow:
    """One number of steps, each checkpoint at its own tuned rate; losses at every budget of the table, None where no
    run has one. `task_epochs` is how often the task was seen, None where it is not known."""

    label: str
    steps: int
    task_epochs: float | None
    task_loss: tuple[Estimate | None, ...]
    pretraining_loss: tuple[Estimate | None, ...]
    task_minimum: Minimum | None
    pretraining_minimum: Minimum | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsTable:
    """One task and way of fine-tuning on one trajectory, steps rising."""

    trajectory: str
    members: str
    task: str
    method: str | None
    amount: float | None
    budgets: tuple[float, ...]
    rows: tuple[StepsRow, ...]
    where: str
    names: Mapping[float, str]


def steps_tables(study: Study) -> tuple[StepsTable, ...]:
    """One for each task and way that was fine-tuned for several numbers of steps."""
    return tuple(_table(study, some) for some in lengths(study))


def lengths(study: Study) -> tuple[tuple[Sweep, ...], ...]:
    """The sweeps that differ in their number of steps alone, steps rising, where there are several."""
    groups: dict[tuple[str, str, str, str], list[Sweep]] = {}
    for s in study.sweeps:
        if s.steps is not None:
            groups.setdefault((s.trajectory, s.members, s.task, _LENGTH.sub("", s.label)), []).append(s)
    found = (sorted(some, key=lambda s: s.steps or 0) for some in groups.values())
    return tuple(tuple(some) for some in found if len({s.steps for s in some}) > 1)


def _table(study: Study, some: Sequence[Sweep]) -> StepsTable:
    first = some[0]
    budgets = tuple(sorted({budget for sweep in some for budget in sweep.budgets}))
    return StepsTable(
        trajectory=first.trajectory,
        members=first.members,
        task=first.task,
        method=first.method,
        amount=first.amount,
        budgets=budgets,
        rows=tuple(_row(sweep, budgets) for sweep in some),
        where=study.places[first.trajectory, first.members],
        names={budget: name for sweep in some for budget, name in sweep.names.items()},
    )


def _row(sweep: Sweep, budgets: Sequence[float]) -> StepsRow:
    def at_each(curve: Curve) -> tuple[Estimate | None, ...]:
        return tuple(mean_over_budgets(curve, [budget]) for budget in budgets)

    return StepsRow(
        label=sweep.label,
        steps=sweep.steps or 0,
        task_epochs=sweep.task_epochs,
        task_loss=at_each(sweep.curve(lambda tuned: tuned.task_loss)),
        pretraining_loss=at_each(sweep.curve(lambda tuned: tuned.pretraining_loss)),
        task_minimum=tuned_minimum(sweep, lambda chosen: chosen.task_loss),
        pretraining_minimum=tuned_minimum(sweep, lambda chosen: chosen.pretraining_loss),
    )


def way_name(task: str, method: str | None, amount: float | None) -> str:
    """ "Fine-tuning on python, anchor 0.1", whatever the number of steps."""
    way = "" if method is None else method + (f" {rate(amount)}" if amount else "")
    return named([f"Fine-tuning on {task}", way])


def steps_name(steps: int, task_epochs: float | None) -> str:
    """ "100 (0.8 epochs)"."""
    return f"{steps}" if task_epochs is None else f"{steps} ({task_epochs:.2g} epochs)"


def steps_grid(table: StepsTable, unit: Unit) -> Grid:
    """A row for every number of steps."""
    last, own = budget_name(table.budgets[-1], table.names), unit.of(table.trajectory)
    return Grid(
        title=named([f"{capital(way_name(table.task, table.method, table.amount))} for longer", table.where]),
        head=("steps", f"task loss at {last}", "lowest at [95 %]", f"pre-training loss at {last}", "lowest at [95 %]"),
        rows=tuple(
            (
                Cell(text=steps_name(row.steps, row.task_epochs)),
                loss_cell(row.task_loss[-1], own, signed=False),
                Cell(text=lowest_words(row.task_minimum, table.names)),
                loss_cell(row.pretraining_loss[-1], own, signed=False),
                Cell(text=lowest_words(row.pretraining_minimum, table.names)),
            )
            for row in table.rows
        ),
        note="Each checkpoint at the rate tuned for its number of steps.",
    )
