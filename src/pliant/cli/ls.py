"""List the checkpoints of a study and what has been measured on each, of a folder, or of a Hub repository.

Of a repository: tokens, learning rate and annealing as far as names and the table of public runs tell, the size, and
what is on this disk already. Nothing but metadata is downloaded.

Example: [bold]pliant ls runs/demo/english[/bold], or [bold]pliant ls allenai/OLMo-1B-hf --every 250B[/bold]
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pliant.cli import checkpoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pliant.studies.members import Members


def command(
    source: str = typer.Argument(..., metavar="SOURCE", help="A study folder, a folder of checkpoints, or org/name."),
    revisions: str | None = checkpoints.REVISIONS,
    first: str | None = checkpoints.FIRST,
    to: str | None = checkpoints.TO,
    every: str | None = checkpoints.EVERY,
    count: int | None = checkpoints.COUNT,
    spacing: str | None = checkpoints.SPACING,
    tokens_per_step: str | None = checkpoints.TOKENS_PER_STEP,
    run: str | None = checkpoints.RUN,
    runs: Path | None = checkpoints.RUNS,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.execution.table import PLAN_FILE

    notes: tuple[str, ...] = ()
    if (Path(source) / PLAN_FILE).is_file():
        _refuse_choices(
            source,
            {
                "--revisions": revisions,
                "--from": first,
                "--to": to,
                "--every": every,
                "--count": count,
                "--spacing": spacing,
                "--tokens-per-step": tokens_per_step,
                "--run": run,
                "--runs": runs,
            },
        )
        rows = _study_rows(Path(source))
    else:
        from pliant.cli.running import quiet_libraries

        quiet_libraries()
        from pliant.studies.members import members_of

        entry = checkpoints.trajectory_of(
            source,
            revisions=revisions,
            first=first,
            to=to,
            every=every,
            count=count,
            spacing=spacing,
            tokens_per_step=tokens_per_step,
            run=run,
        )
        with checkpoints.listing() as progress:
            found = members_of(entry, runs=runs, progress=progress, purpose="list")
        rows, notes = _member_rows(found), found.notes
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table as Grid

    from pliant.cli.outcome import console

    shown = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    grid = Grid(*(name.replace("_", " ") for name in shown))
    for row in rows:
        grid.add_row(*(_shown(name, row[name]) for name in shown))
    screen = console()
    screen.print(grid)
    for note in notes:
        screen.print(note, style="dim")


def _refuse_choices(source: str, given: "Mapping[str, object]") -> None:
    from pliant.studies.spec import SpecError

    for option, value in given.items():
        if value is not None:
            raise SpecError(
                f"{option} {value} has no effect on {source}, a study folder, which is listed as it was planned; "
                "leave it out"
            )


def _study_rows(folder: Path) -> list[dict[str, Any]]:
    from pliant.execution.store import Store
    from pliant.execution.table import read_plan

    store = Store(folder)
    there = store.listing()
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
        done = there.get(cell.cell, frozenset()).issuperset(cell.evaluations)
        row["cells"] += 1
        row["measured"] += done
        row["failed"] += not done and bool(store.read_run(cell.cell).get("error"))
    return list(groups.values())


def _member_rows(found: "Members") -> list[dict[str, Any]]:
    from pliant.studies.members import downloads

    cache = downloads()
    rows = []
    for member in found.members:
        revision, about = member.revision, member.about
        row = {
            "checkpoint": member.name,
            "tokens": about.tokens,
            "step": about.step,
            "learning_rate": about.learning_rate,
            "annealed": about.annealed,
            "seed": about.seed,
            "bytes": revision.weight_bytes if revision else _bytes(member.folder),
            "on_disk": None if revision is None else cache.has(revision),
            "commit": None if revision is None else revision.commit[:8],
        }
        rows.append(row)
    return rows


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _shown(name: str, value: Any) -> str:
    from pliant.records.units import format_tokens

    if value is None:
        return "?"
    if name == "tokens":
        return format_tokens(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
