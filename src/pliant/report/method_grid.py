"""The price table of methods, as the terminal and the page show it."""

from collections.abc import Sequence

from pliant.report.grid import Cell, Grid, loss_cell, named
from pliant.report.methods import MethodRow, MethodTable, lowest_words
from pliant.report.study import budget_name, capital, phrase
from pliant.report.unit import Unit, rate

NOTE = (
    "Each way minus plain fine-tuning of the same checkpoints, each at its own tuned rate, paired by run: what it "
    "costs on the task, what it saves of pre-training, and what it saves at a task loss that both reach (the worse of "
    "their best on validation). Means are over budgets. * a best rate lies at an end of its grid."
)


def method_grid(table: MethodTable, unit: Unit) -> Grid:
    """A row for plain fine-tuning and for every method and amount."""
    plain, *others = table.rows
    last = next((budget_name(row.price.budgets[-1], table.names) for row in others if row.price), "")
    return Grid(
        title=named([f"{capital(phrase(plain.label))}: the price of other ways", table.where]),
        head=(
            "way of fine-tuning",
            f"task loss at {last}",
            "mean",
            f"pre-training loss at {last}",
            "mean",
            f"the same at equal task loss, {last}",
            "mean",
            "task loss lowest at [95 %]",
            "pre-training loss lowest at [95 %]",
        ),
        rows=tuple(_cells(row, table, unit.of(table.trajectory)) for row in table.rows),
        note=NOTE,
        spare=frozenset({2, 4, 6}),
    )


def _cells(row: MethodRow, table: MethodTable, unit: Unit) -> tuple[Cell, ...]:
    minima: Sequence[Cell] = [
        Cell(text=lowest_words(minimum, table.names)) for minimum in (row.task_minimum, row.pretraining_minimum)
    ]
    if row.price is None:
        return (Cell(text=_name(row)), *(Cell() for _ in range(6)), *minima)
    each = (row.price.task_loss, row.price.pretraining_loss, row.price.matched)
    losses = (loss_cell(estimate, unit) for one in each for estimate in (one.last, one.mean))
    return (Cell(text=_name(row)), *losses, *minima)


def _name(row: MethodRow) -> str:
    way = "plain" if row.method is None else row.method + (f" {rate(row.amount)}" if row.amount else "")
    return f"{way} *" if row.at_edge else way
