"""List the checkpoints of a study and what has been measured on each, or the checkpoints in any folder.

Example: [bold]pliant ls runs/demo/english[/bold]
"""

import json
from pathlib import Path
from typing import Any

import typer


def command(
    folder: Path = typer.Argument(..., help="A study folder, or a folder of Hugging Face checkpoints."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.execution.table import PLAN_FILE

    rows = _study_rows(folder) if (folder / PLAN_FILE).is_file() else _checkpoint_rows(folder)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table as Grid

    from pliant.cli.outcome import console

    grid = Grid(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        grid.add_row(*(_shown(name, value) for name, value in row.items()))
    console().print(grid)


def _study_rows(folder: Path) -> list[dict[str, Any]]:
    from pliant.execution.store import Store
    from pliant.execution.table import read_plan

    store = Store(folder)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in read_plan(folder)[1]:
        labels = cell.labels
        key = (labels["trajectory"], labels["checkpoint"], labels["pretraining_seed"])
        row = groups.setdefault(
            key,
            {
                "trajectory": labels["trajectory"],
                "checkpoint": labels["checkpoint"],
                "seed": labels["pretraining_seed"],
                "tokens": labels["tokens"],
                "learning_rate": labels["pretraining_learning_rate"],
                "annealed": labels["annealed"],
                "cells": 0,
                "measured": 0,
                "failed": 0,
            },
        )
        done = all(store.has(cell.cell, evaluation) for evaluation in cell.evaluations)
        row["cells"] += 1
        row["measured"] += done
        row["failed"] += not done and bool(store.read_run(cell.cell).get("error"))
    return list(groups.values())


def _checkpoint_rows(folder: Path) -> list[dict[str, Any]]:
    from pliant.checkpoints.trajectory import trajectory

    return [
        {
            "checkpoint": member.name,
            "tokens": member.about.tokens,
            "learning_rate": member.about.learning_rate,
            "annealed": member.about.annealed,
            "seed": member.about.seed,
            "bytes": sum(file.stat().st_size for file in member.folder.glob("*.safetensors")),
        }
        for member in trajectory(folder).members
    ]


def _shown(name: str, value: Any) -> str:
    from pliant.records.units import format_tokens

    if value is None:
        return "?"
    if name == "tokens":
        return format_tokens(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
