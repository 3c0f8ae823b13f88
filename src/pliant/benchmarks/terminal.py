"""The table of what was measured on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pliant.benchmarks.outcome import Outcome
from pliant.benchmarks.table import COLUMNS, cells, conditions, remarks, summary

COLOURS = {"met": "green", "missed": "red"}
TITLE = "pliant against its peers: median [smallest, largest round]"
SMOKE = "a smoke run: it shows that all runs, its figures mean nothing"


def show(outcomes: Sequence[Outcome], absent: Sequence[str], screen: Console) -> None:
    """The table, how many rows are met, what is to be known of them, and what they were measured with."""
    smoke = any(outcome.scale == "smoke" for outcome in outcomes)
    if outcomes:
        screen.print(_grid(outcomes, SMOKE if smoke else TITLE))
    if outcomes and not smoke:
        screen.print(summary(outcomes), style="bold", highlight=False)
    for note in (note for outcome in outcomes for note in remarks(outcome.row)):
        screen.print(escape(note), style="dim", highlight=False)
    for line in (*(f"not measured: {line}" for line in absent), *conditions(outcomes)):
        screen.print(escape(line), highlight=False)


def _grid(outcomes: Sequence[Outcome], title: str) -> Table:
    grid = Table(title=escape(title))
    for name in COLUMNS:
        grid.add_column(name, no_wrap=name in ("target", ""), overflow="fold")
    for outcome in outcomes:
        for line in cells(outcome.row):
            marked = (f"[{COLOURS[text]}]{text}[/]" if text in COLOURS else escape(text) for text in line)
            grid.add_row(*marked)
        grid.add_section()
    return grid
