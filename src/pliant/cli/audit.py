"""Audit checkpoints: is what is there what it says it is?

Looks for equal weights under several names, weights out of order, missing or cut shards, NaN, odd norms, other
tokenizers, and a loss that does not improve along the run. Of a Hub repository it compares names, sizes and hashes and
fetches no weights; with --depth weights or loss it fetches one checkpoint at a time. Exit code 1 if something is wrong.

Example: [bold]pliant audit path/to/checkpoints[/bold], or [bold]pliant audit allenai/OLMo-1B-hf[/bold]
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pliant.cli import checkpoints

if TYPE_CHECKING:
    from pliant.checkpoints.audit.reading import Progress
    from pliant.checkpoints.hub.revision import HubRevision
    from pliant.checkpoints.trajectory import Member


class DepthChoice(StrEnum):
    """How deep to look."""

    metadata = "metadata"
    weights = "weights"
    loss = "loss"


def command(
    source: str = typer.Argument(..., metavar="SOURCE", help="A folder of checkpoints, org/name or org/name@revision."),
    revisions: str | None = checkpoints.REVISIONS,
    first: str | None = checkpoints.FIRST,
    to: str | None = checkpoints.TO,
    every: str | None = checkpoints.EVERY,
    count: int | None = checkpoints.COUNT,
    spacing: str | None = checkpoints.SPACING,
    tokens_per_step: str | None = checkpoints.TOKENS_PER_STEP,
    run: str | None = checkpoints.RUN,
    runs: Path | None = checkpoints.RUNS,
    depth: DepthChoice | None = typer.Option(
        None,
        help="metadata: files, fingerprints, order; weights: also norms; loss: also held-out text. "
        "By default loss for a folder, metadata for a repository, of which the others fetch the weights.",
    ),
    corpus: str | None = typer.Option(None, help="english (the default), markov:SEED, or a path to .txt or .jsonl."),
    tokenizer: str | None = typer.Option(None, help="By default that of the first readable checkpoint."),
    tokens: int | None = typer.Option(None, help="Held-out tokens for the loss; by default 4096."),
    strict: bool = typer.Option(False, "--strict", help="Exit code 1 for warnings, too."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.studies.auditing import absent_findings, audit, to_fetch
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
    with checkpoints.listing() as heard:
        found = members_of(entry, runs=runs, progress=heard, purpose="audit")
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    published = to_fetch(found.members)
    if published and depth in (DepthChoice.weights, DepthChoice.loss):
        typer.echo(f"fetching {_sizes(published)}, one at a time", err=True)
    with _progress(found.members) as progress:
        result = audit(
            found.members,
            depth=depth.value if depth is not None else None,
            corpus=corpus,
            tokenizer=tokenizer,
            tokens=tokens,
            absent=absent_findings(found, entry),
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        from pliant.cli.outcome import console
        from pliant.report.audit_terminal import show_audit

        show_audit(source if found.pinned else entry.name, result, console())
        if published and result.depth == "metadata":
            typer.echo(f"no weights were read; --depth weights fetches {_sizes(published)}, one at a time", err=True)
    if result.refused or (strict and any(one.level == "warning" for one in result.findings)):
        raise typer.Exit(1)


def _sizes(revisions: "Sequence[HubRevision]") -> str:
    """ "12 checkpoints, 61.2 GB, at most 5.1 GB on this disk at once"."""
    from pliant.studies.members import downloads

    takes = [downloads().takes(revision) for revision in revisions]
    return f"{len(takes)} checkpoints, {sum(takes) / 1e9:.3g} GB (at most {max(takes) / 1e9:.3g} GB on this disk)"


PATIENCE_SECONDS = 2.0


@contextmanager
def _progress(members: "Sequence[Member]") -> "Iterator[Progress]":
    """A bar on standard error with the checkpoint being read, on a terminal and only after two seconds."""
    import sys
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.description}", style="dim", markup=False),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=len(members))
    places = {member.name: place for place, member in enumerate(members)}
    begun = time.monotonic()

    def advance(name: str, fetched: float) -> None:
        what = f"{name}, {fetched:.0%} fetched" if 0 < fetched < 1 else name
        bar.update(task, completed=places[name] + fetched, description=what)
        if not bar.live.is_started and sys.stderr.isatty() and time.monotonic() - begun > PATIENCE_SECONDS:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
