"""Audit checkpoints: is what is there what it says it is?

Looks for equal weights under several names, weights out of order, missing or cut shards, NaN, odd norms, other
tokenizers, and a loss that does not improve along the run. Exit code 1 if something is wrong.

Example: [bold]pliant audit path/to/checkpoints[/bold]
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pliant.checkpoints.audit.audit import Progress


class DepthChoice(StrEnum):
    """How deep to look."""

    metadata = "metadata"
    weights = "weights"
    loss = "loss"


def command(
    path: Path = typer.Argument(..., help="A folder of Hugging Face checkpoints.", metavar="PATH"),
    depth: DepthChoice = typer.Option(
        DepthChoice.loss, help="metadata: files, fingerprints, order; weights: also norms; loss: also held-out text."
    ),
    corpus: str = typer.Option("english", help="english, markov:SEED, or a path to .txt or .jsonl text."),
    tokenizer: str | None = typer.Option(None, help="By default that of the first readable checkpoint."),
    tokens: int = typer.Option(4096, help="Held-out tokens for the loss."),
    strict: bool = typer.Option(False, "--strict", help="Exit code 1 for warnings, too."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.checkpoints.trajectory import trajectory
    from pliant.studies.auditing import audit

    found = trajectory(path)
    readings = {DepthChoice.metadata: 1, DepthChoice.weights: 2, DepthChoice.loss: 3}[depth]
    with _progress(readings * len(found.members)) as progress:
        result = audit(
            found.members,
            depth=depth.value,
            corpus=corpus,
            tokenizer=tokenizer,
            tokens=tokens,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        from pliant.cli.outcome import console
        from pliant.report.audit_terminal import show_audit

        show_audit(found.name, result, console())
    if result.refused or (strict and any(one.level == "warning" for one in result.findings)):
        raise typer.Exit(1)


PATIENCE_SECONDS = 2.0


@contextmanager
def _progress(total: int) -> "Iterator[Progress]":
    """A bar on standard error with the checkpoint being read, on a terminal and only after two seconds."""
    import sys
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=total)
    begun = time.monotonic()

    def advance(name: str) -> None:
        bar.update(task, advance=1, description=name)
        if not bar.live.is_started and sys.stderr.isatty() and time.monotonic() - begun > PATIENCE_SECONDS:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
