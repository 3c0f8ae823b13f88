"""Forecast the token budget where the loss under noise turns up, from a finished ladder or a CSV as for `verdict`.

The law L = E + A T^-alpha + B gamma^2 T^beta is fitted to at least seven budgets over a decade; docs/forecast.md says
how, and when not to believe it.

Example: [bold]pliant forecast runs/mine --gamma 0.05 --gamma 0.1 --scaling init --out forecast.html[/bold]
"""

import json
from enum import StrEnum
from pathlib import Path

import typer

from pliant.cli.remotes import study_folder


class Scaling(StrEnum):
    """What gamma multiplies."""

    init = "init"
    relative = "relative"


def command(
    study: str = typer.Argument(..., help="A study folder, its URL, or a CSV file, with noise at several budgets."),
    gamma: list[float] = typer.Option([], help="Noise strength to forecast; again for more. By default all measured."),
    scaling: Scaling | None = typer.Option(None, help="Only noise in this scaling."),
    out: Path | None = typer.Option(None, help="Also write a figure: one HTML file."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.cli.outcome import console
    from pliant.execution.table import read_table
    from pliant.report.forecast_terminal import show_forecasts
    from pliant.report.forecast_words import to_json
    from pliant.report.forecasts import forecasts
    from pliant.report.scores import read_scores

    place = study_folder(study)
    table = read_table(place) if place.is_dir() else read_scores(place)
    made = forecasts(table.readings(), gammas=gamma, scaling=scaling.value if scaling else None)
    if out is not None:
        from pliant.report.forecast_page import write_forecasts

        write_forecasts(made, out)
    if as_json:
        typer.echo(json.dumps(to_json(made)))
        return
    screen = console()
    show_forecasts(made, screen)
    if out is not None:
        screen.print(f"\nfigure: {out}")
