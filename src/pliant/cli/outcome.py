"""How a finished run is told: tables, verdict, failures, where the report is; and the exit code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from pliant.records.units import MARGIN_NATS

if TYPE_CHECKING:
    from pliant.execution.engine import TaskFailure
    from pliant.execution.table import Table

MINIMUM_WIDTH = 140


def console() -> Console:
    """Standard output; wide enough for the table where it is no terminal.

    Brackets are text: names and errors come from outside, and `[/b]` in one is no markup.
    """
    screen = Console(markup=False)
    return screen if screen.is_terminal else Console(width=max(MINIMUM_WIDTH, screen.width), markup=False)


def conclude(
    tables: "Sequence[Table]",
    failures: "Sequence[TaskFailure]",
    *,
    report: Path,
    title: str,
    notes: Sequence[str] = (),
    margin: float = MARGIN_NATS,
    as_json: bool = False,
    answer: str | None = None,
) -> None:
    """Write the report, print the verdict, and leave with 1 if something could not be measured.

    `answer` goes into the JSON: the one of `pliant check`.
    """
    from pliant.execution.mirrors import publish, shown
    from pliant.report.html import write_told
    from pliant.report.terminal import show
    from pliant.studies.recipes.claims import judge_claims, recipe_notes

    expectations = judge_claims(tables)
    told = (*notes, *recipe_notes(tables))
    summary = write_told(tables, report, title=title, notes=told, expectations=expectations, margin=margin)
    if as_json:
        content = summary.to_json()
        assert isinstance(content, dict), "a summary is an object"
        typer.echo(json.dumps(content if answer is None else {"answer": answer, **content}))
    else:
        screen = console()
        show(summary, screen)
        for result in expectations:
            parts = ("expected:", "dim"), f" {result.text}: ", (result.agrees, "bold"), f" ({result.observed})"
            screen.print(Text.assemble(*parts))
        screen.print(f"\nreport: {shown(report)}")
    publish(report)
    _tell_failures(tables, failures)


def _tell_failures(tables: "Sequence[Table]", failures: "Sequence[TaskFailure]") -> None:
    for failure in failures:
        typer.echo(f"failed: {failure.label}: {failure.error.splitlines()[0]}", err=True)
    for table in tables:
        for cell in table.failed:
            where = f"{cell.labels['trajectory']}, {cell.labels['checkpoint']}, {cell.labels['label']}"
            typer.echo(f"failed: {where} {cell.labels['strength']}: {cell.error.splitlines()[0]}", err=True)
        if table.missing:
            typer.echo(f"{table.study}: {table.missing} of {table.planned} records are missing", err=True)
    if failures or any(table.missing for table in tables):
        if any(failure.user_error for failure in failures):
            raise typer.Exit(2)
        raise typer.Exit(1)
