"""Study folders given as URLs: what the commands that take a folder share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pliant.execution.remote import Listener

STUDY_FOLDER = "A study folder, or its URL (s3://BUCKET/FOLDER)."
_PATIENCE_SECONDS = 2.0


def study_folder(place: str) -> Path:
    """The folder that `place` names: for a URL, or the mirror of one, the mirror as the remote is now.

    Raises:
        UserError: the remote cannot be read.
    """
    from pliant.execution.mirrors import local_folder, mirror_of

    known = mirror_of(Path(place)) if "://" not in place else None
    with transfers() as listener:
        if known is not None:
            known.pull(listener)
            return Path(place)
        return local_folder(place, listener)


@contextmanager
def transfers() -> Iterator["Listener"]:
    """A bar on standard error for files that are fetched or pushed, once that takes a while; in a log, one line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("files", total=None)
    begun, shown = time.monotonic(), False

    def heard(done: int, total: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - begun > _PATIENCE_SECONDS:
            shown = True
            if bar.console.is_terminal:
                bar.start()
            else:
                typer.echo(f"transferring {total:,} files", err=True)
        bar.update(task, completed=done, total=total)

    try:
        yield heard
    finally:
        if bar.live.is_started:  # stopping what was never begun would print an empty line
            bar.stop()
