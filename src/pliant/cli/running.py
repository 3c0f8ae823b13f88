"""Running studies with progress: what `demo`, `run` and `pretrain` share."""

import importlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pliant.cli.checkpoints import listing
from pliant.cli.progress import Log, clock, fetching, observer
from pliant.cli.remotes import transfers
from pliant.execution.starting import warm_up

if TYPE_CHECKING:
    from pliant.checkpoints.hub.pins import Pinned
    from pliant.execution.engine import Engine, Observer, TaskFailure
    from pliant.execution.table import Table
    from pliant.studies.engines import EngineChoice
    from pliant.studies.schedule import Schedule
    from pliant.studies.spec import StudySpec


def quiet_libraries() -> None:
    """Keep transformers' bars and advice off the screen, here and in the workers; set before it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def begin_workers(workers: int | None, *places: str | Path | None) -> None:
    """Let workers of this machine import their libraries while a new study is planned.

    Where one of `places` holds a study already it may be finished, and whether it needs workers is known when it is
    planned; then they begin as others do.
    """
    quiet_libraries()
    if workers != 0 and not any(place is not None and Path(place, "study.yaml").exists() for place in places):
        warm_up()


def _import_what_concludes() -> None:
    """Import what tables and report need, while there is nothing to do but wait for workers."""
    for name in ("pyarrow.parquet", "pliant.report.html"):
        importlib.import_module(name)


def run_and_watch(
    studies: "Sequence[tuple[StudySpec, Path]]",
    *,
    workers: int | None,
    log: Log,
    engine: "Engine | EngineChoice | None" = None,
    cache_cap: int | None = None,
    pins: "Mapping[str, Pinned] | None" = None,
    tell_notes: bool = True,
) -> "tuple[list[Table], list[TaskFailure]]":
    """Run what is missing of `studies`, showing progress; tables and failures come back.

    `tell_notes` also says what was left out of the checkpoints.
    """
    quiet_libraries()
    from pliant.execution.mirrors import shown
    from pliant.studies.engines import HERE
    from pliant.studies.runner import run_studies

    chosen = engine or HERE

    if workers is not None and workers < 0:
        from pliant.studies.spec import SpecError

        raise SpecError(f"--workers must be 0 (in this process) or more, got {workers}")

    def watch(schedule: "Schedule") -> "Observer":
        lanes = schedule.lanes
        if log is Log.auto:
            for note in (note for plan in schedule.plans for note in plan.notes if tell_notes):
                typer.echo(f"note: {note}", err=True)
            if chosen == HERE and any(plan.spec.resources for plan in schedule.plans):
                typer.echo("note: resources has an effect on a cluster only; here --workers says how many", err=True)
            todo, total = schedule.cells_missing, schedule.cells
            about = clock(schedule.seconds / lanes)
            where = ", ".join(shown(plan.folder) for plan in schedule.plans)
            more = fetching(schedule.download_bytes)
            line = f"{todo:,} of {total:,} cells to measure, about {about} on {lanes} worker(s){more}: {where}"
            typer.echo(line, err=True)
        if schedule.tasks and chosen == HERE and workers != 0:
            warm_up()
            threading.Thread(target=_import_what_concludes, daemon=True).start()
        return observer(schedule, log, lanes)

    with listing() as progress, transfers() as transfer:
        return run_studies(
            studies,
            engine=chosen,
            workers=workers,
            observe=watch,
            cache_cap=cache_cap,
            listing=progress,
            pins=pins or {},
            transfer=transfer,
        )
