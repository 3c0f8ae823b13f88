"""Write the report of one or more study folders, from their records alone.

The report of a remote study (s3://BUCKET/FOLDER) goes there too; with --out nothing is written there.

Example: [bold]pliant report runs/demo/english runs/demo/markov --out both.html[/bold]
"""

from pathlib import Path

import typer

from pliant.cli.remotes import study_folder
from pliant.records.units import MARGIN_NATS


def command(
    studies: list[str] = typer.Argument(..., help="Study folders, or their URLs.", metavar="STUDY..."),
    out: Path | None = typer.Option(None, help="The HTML file; by default report.html in the first folder."),
    title: str | None = typer.Option(None, help="The report's title."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    from pliant.cli.outcome import conclude
    from pliant.execution.table import read_table

    folders = [study_folder(study) for study in studies]
    tables = [read_table(folder) for folder in folders]
    heading = title or ", ".join(table.study for table in tables)
    conclude(tables, [], report=out or folders[0] / "report.html", title=heading, as_json=as_json, margin=margin)
