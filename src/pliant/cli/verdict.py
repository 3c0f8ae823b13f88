"""Judge losses you measured yourself: where is each modified loss lowest, is the last checkpoint overtrained?

SCORES is a CSV file with the columns checkpoint, strength (0: the base) and value (nats per token), and as far as you
have them tokens (else the order of the lines counts), seed (of pre-training), draw, sign, block (twenty or more give an
interval over text) and count, trajectory, modification (noise, fine-tune, quantise, ...), scaling, task, evaluation
(pretraining-loss or task-loss), split (validation or test), learning_rate (of pre-training, there), annealed, epochs,
parameters, bytes_per_token. A study folder works too.

Example: [bold]pliant verdict scores.csv --margin 0.02[/bold]
"""

import json
from pathlib import Path

import typer

from pliant.cli.remotes import study_folder
from pliant.records.units import MARGIN_NATS


def command(
    scores: str = typer.Argument(..., help="A CSV (or .tsv) file, a study folder, or its URL."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    out: Path | None = typer.Option(None, help="Write the report as HTML to this file, too."),
    as_json: bool = typer.Option(False, "--json", help="Print the verdict as JSON."),
) -> None:
    from pliant.cli.outcome import console
    from pliant.execution.table import read_table
    from pliant.report.html import write_report
    from pliant.report.scores import read_scores
    from pliant.report.summary import summarise
    from pliant.report.terminal import show

    place = study_folder(scores)
    table = read_table(place) if place.is_dir() else read_scores(place)
    summary = summarise([table], margin=margin)
    if out is not None:
        write_report([table], out, title=table.study, margin=margin)
    if as_json:
        typer.echo(json.dumps(summary.to_json()))
        return
    show(summary, console(), every_rate=True)
    if out is not None:
        typer.echo(f"\nreport: {out}")
