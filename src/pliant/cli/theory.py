"""Draw what the linear model says: when features are learned, and when more training begins to hurt.

A two-layer linear network learns a target with power-law singular values i^-alpha; noise, fine-tuning, weight decay
and an anchor follow in closed form. Prints where the perturbed loss turns and writes one HTML page. Takes seconds.

Example: [bold]pliant theory --alpha 1 --gammas 0.02,0.05,0.1 --out runs/theory.html[/bold]
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pliant.report.theory_page import InflectionRow
    from pliant.theory.linear_model import LinearModel


class Task(StrEnum):
    reversed = "reversed"
    tail = "tail"
    double = "double"
    new_tail = "new-tail"
    same = "same"


def command(
    out: Path = typer.Option(Path("runs/theory.html"), help="The HTML file."),
    rank: int = typer.Option(64, help="Features of the target; both layers are as wide."),
    alpha: float = typer.Option(0.7, help="Singular values of the target are i^-alpha."),
    s0: float = typer.Option(1e-6, help="Strength of every feature at the start."),
    gammas: str = typer.Option("0.02:0.11:25", help="Noise strengths: numbers with commas, or LOW:HIGH:COUNT."),
    horizon: float = typer.Option(400.0, help="Pre-training time: learning rate x steps."),
    tau: float = typer.Option(5.0, help="Fine-tuning time; the page shows 0.01, 0.1, 1 and 10 times it."),
    task: Task = typer.Option(Task.reversed, help="Feature strengths of the fine-tuning task."),
    lambdas: str = typer.Option("0,0.1,0.5,1", help="Anchor strengths in fine-tuning, as --gammas."),
    as_json: bool = typer.Option(False, "--json", help="Print the table as JSON."),
) -> None:
    import numpy as np

    from pliant.report.theory_page import inflection_rows, write_theory_page
    from pliant.theory.domain import not_negative, positive
    from pliant.theory.linear_model import LinearModel

    model = LinearModel(rank=rank, alpha=alpha, s0=s0, horizon=horizon)
    strengths, anchors = np.unique(_numbers("--gammas", gammas)), np.unique(_numbers("--lambdas", lambdas))
    positive(gammas=strengths, tau=tau)
    not_negative(lambdas=anchors)
    found = model.inflections(strengths)
    write_theory_page(model, found, out, task=task.value, tau=tau, lambdas=anchors.tolist())
    rows = inflection_rows(model, found)
    if as_json:
        _print_json(model, rows, out)
    else:
        _print_table(model, rows, out)


def _numbers(flag: str, text: str) -> list[float]:
    """ "0.1,0.2" as it stands; "0.02:0.11:25" as 25 numbers in geometric progression."""
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",")]
        low, high, count = text.split(":")
        first, last, steps = float(low), float(high), int(count)
    except ValueError:
        raise ValueError(f"{flag} {text!r} is no list: give numbers with commas, or LOW:HIGH:COUNT") from None
    if not (0 < first < last < float("inf") and steps >= 2):
        raise ValueError(f"{flag} {text!r} is no range: give 0 < LOW < HIGH and a COUNT of 2 or more")
    return [first * (last / first) ** (k / (steps - 1)) for k in range(steps)]


def _print_json(model: "LinearModel", rows: "tuple[InflectionRow, ...]", out: Path) -> None:
    import dataclasses

    content = {
        "model": dataclasses.asdict(model),
        "loss_unit": model.clean_start,
        "inflections": [row.to_json() for row in rows],
        "page": str(out),
    }
    typer.echo(json.dumps(content, allow_nan=False))


def _print_table(model: "LinearModel", rows: "tuple[InflectionRow, ...]", out: Path) -> None:
    from rich.table import Table as Grid

    from pliant.cli.outcome import console
    from pliant.report.theory_page import HEADINGS, shown

    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for heading in HEADINGS:
        grid.add_column(heading, justify="left" if heading == "kind" else "right")
    for row in rows:
        grid.add_row(*shown(row, model.horizon))
    screen = console()
    screen.print(grid)
    screen.print("losses in units of the target's ‖A‖²; predicted t* is ln(2g/s0)/(4g), g = γ²·rank", style="dim")
    screen.print(f"\npage: {out}")
