"""Show a study's verdict again, or everything that is known of one of its cells.

Example: [bold]pliant show runs/demo/english[/bold], or with the first digits of a cell's name after it
"""

import json
from pathlib import Path

import typer

from pliant.cli.remotes import STUDY_FOLDER, study_folder
from pliant.records.units import MARGIN_NATS


def command(
    study: str = typer.Argument(..., help=STUDY_FOLDER, metavar="STUDY"),
    cell: str | None = typer.Argument(None, help="The first digits of a cell's name, as in records/<cell>."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    folder = study_folder(study)
    if cell is None:
        _verdict(folder, margin, as_json)
    else:
        _cell(folder, cell, as_json)


def _verdict(study: Path, margin: float, as_json: bool) -> None:
    from pliant.cli.outcome import console
    from pliant.execution.table import read_table
    from pliant.report.summary import summarise
    from pliant.report.terminal import show

    summary = summarise([read_table(study)], margin=margin)
    if as_json:
        typer.echo(json.dumps(summary.to_json()))
    else:
        show(summary, console(), every_rate=True)


def _cell(study: Path, prefix: str, as_json: bool) -> None:
    from rich.pretty import Pretty

    from pliant.cli.outcome import console
    from pliant.execution.store import Store, StoreError
    from pliant.execution.table import read_plan

    planned = {cell.cell: cell for cell in read_plan(study)[1]}
    matches = [name for name in planned if name.startswith(prefix)]
    if len(matches) != 1:
        advice = "give more digits" if matches else f"the names are those of the folders in {study / 'records'}"
        raise StoreError(f"{study} has {len(matches)} cells whose names begin with {prefix!r}; {advice}")
    store, found = Store(study), planned[matches[0]]
    content = {
        "cell": found.cell,
        "labels": dict(found.labels),
        "run": store.read_run(found.cell),
        "records": {
            evaluation: store.read(found.cell, evaluation) if store.has(found.cell, evaluation) else None
            for evaluation in found.evaluations
        },
    }
    if as_json:
        typer.echo(json.dumps(content))
    else:
        console().print(Pretty(content, max_length=12, max_string=90))
