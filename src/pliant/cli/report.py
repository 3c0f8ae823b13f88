"""Write the report of one or more study folders, from their records alone.

Example: [bold]pliant report runs/demo/english runs/demo/markov --out both.html[/bold]
"""

from pathlib import Path

import typer

from pliant.records.units import MARGIN_NATS


def command(
    studies: list[Path] = typer.Argument(..., help="Study folders.", metavar="STUDY..."),
    out: Path | None = typer.Option(None, help="The HTML file; by default report.html in the first folder."),
    title: str | None = typer.Option(None, help="The report's title."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    from pliant.cli.outcome import conclude
    from pliant.execution.table import read_table

    tables = [read_table(folder) for folder in studies]
    heading = title or ", ".join(table.study for table in tables)
    conclude(tables, [], report=out or studies[0] / "report.html", title=heading, as_json=as_json, margin=margin)
