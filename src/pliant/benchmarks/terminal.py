"""The table of what was measured on a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pliant.benchmarks.outcome import Outcome
from pliant.benchmarks.table import COLUMNS, cells, conditions, remarks, summary

COLOURS = {"met": "green", "missed": "red"}
SHORT = {"of GEMM peak": "peak"}
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
        screen.print(Text(note), style="dim", highlight=False)
    for line in (*(f"not measured: {line}" for line in absent), *conditions(outcomes)):
        screen.print(Text(line), highlight=False)


def _grid(outcomes: Sequence[Outcome], title: str) -> Table:
    """The work is a line of its own above its cases: as a column it would leave too little for them."""
    grid = Table(title=Text(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in COLUMNS[1:]:
        grid.add_column(SHORT.get(name, name), no_wrap=name in ("found", "target", ""))
    for outcome in outcomes:
        grid.add_row(Text(outcome.row.work, style="bold"))
        for _, *line in cells(outcome.row):
            grid.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in line))
        grid.add_section()
    return grid
