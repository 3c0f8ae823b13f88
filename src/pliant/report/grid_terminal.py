"""Small tables in a terminal."""

from collections.abc import Iterator

from rich.table import Table as RichTable
from rich.text import Text

from pliant.report.grid import Grid
from pliant.report.method_grid import method_grid
from pliant.report.repeats import steps_grid
from pliant.report.summary import StudySummary

ROOMY = 200
"""Columns of a terminal that has room for every column of a table."""


def fine_tuning_grids(study: StudySummary) -> Iterator[Grid]:
    """The price of methods, and more steps."""
    yield from (method_grid(table, study.unit) for table in study.methods)
    yield from (steps_grid(table, study.unit) for table in study.steps)


def grid_table(grid: Grid, width: int) -> RichTable:
    """The grid with its title above and its note below; one narrower than `ROOMY` goes without its spare columns."""
    shown = [place for place in range(len(grid.head)) if width >= ROOMY or place not in grid.spare]
    table = RichTable(
        box=None,
        pad_edge=False,
        header_style="dim",
        title=Text(grid.title, style="bold"),
        title_justify="left",
        caption=Text(grid.note, style="dim"),
        caption_justify="left",
    )
    for place in shown:
        table.add_column(grid.head[place], justify="right" if place else "left")
    for row in grid.rows:
        table.add_row(*(Text(row[place].words) for place in shown))
    return table
