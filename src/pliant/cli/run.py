"""Run a study: pre-train what it asks for, measure what has no record yet, write the report.

STUDY is a YAML file, the folder of a study that was begun, or a recipe function (pliant.studies.demo:english_study);
--recipe NAME takes the study of a published result instead, and with --dry-run tells what it would take before
anything is fetched. Running a finished study changes nothing.

With --engine ray the work is done by workers on a Ray cluster, with --engine slurm by jobs, at most --workers at once;
run that on a login node, in a folder that the nodes share. --engine slurm-local does the same with processes of this
machine, to try it. --out s3://BUCKET/FOLDER keeps the study there (pip install 'pliant\\[s3]'); a study begun there is
run by its URL.

Example: [bold]pliant run study.yaml --out runs/mine[/bold], and first: [bold]pliant run study.yaml --dry-run[/bold];
on a cluster [bold]pliant run study.yaml --engine ray --address auto[/bold]
or [bold]pliant run study.yaml --engine slurm --slurm partition=gpu --slurm time=120[/bold]
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pliant.cli import checkpoints
from pliant.cli.engines import EngineName, engine_of
from pliant.cli.progress import Log, clock, fetching
from pliant.cli.remotes import study_folder
from pliant.cli.running import begin_workers, quiet_libraries, run_and_watch
from pliant.records.units import MARGIN_NATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pliant.api import Study
    from pliant.execution.engine import TaskFailure
    from pliant.execution.table import Table
    from pliant.studies.spec import StudySpec


def command(
    study: str | None = typer.Argument(
        None, help="A YAML file, a study folder, or module:function.", metavar="STUDY", show_default=False
    ),
    recipe: str | None = typer.Option(None, help="The study of a published result; `pliant recipes` lists them."),
    out: str | None = typer.Option(None, help="The study's folder or URL; by default runs/<name of the study>."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the cells and the estimated time; run nothing."),
    workers: int | None = typer.Option(
        None,
        help="Worker processes, by default one a core, 0 for none; on Ray by default as many as have room, with slurm "
        "the jobs in flight, by default 16.",
    ),
    engine: EngineName = typer.Option(EngineName.local, help="Who does the work."),
    address: str | None = typer.Option(
        None, help="The Ray cluster: auto, HOST:PORT or ray://HOST:PORT; by default one is started on this machine."
    ),
    slurm: list[str] = typer.Option(
        [], metavar="NAME=VALUE", help="An option of sbatch for --engine slurm, such as partition=gpu; repeatable."
    ),
    cache_cap: str | None = checkpoints.CACHE_CAP,
    allow_suspect: bool = typer.Option(False, "--allow-suspect", help="Go on with checkpoints that the audit refuses."),
    allow_pickle: bool = checkpoints.ALLOW_PICKLE,
    trust_remote_code: bool = checkpoints.TRUST_REMOTE_CODE,
    batch_tokens: int | None = typer.Option(None, min=1, help="Tokens of one forward pass of a new study."),
    remeasure: bool = typer.Option(False, "--remeasure", help="Set aside records measured on weights that changed."),
    extend_grids: bool = typer.Option(
        False, "--extend-grids", help="Where a best rate lies at the edge of its grid, add rates and go on."
    ),
    precision: str | None = typer.Option(
        None,
        metavar="NATS|SHARE%",
        help="Draw more noise until intervals are that narrow: 0.005 is +-0.005 nats per token at the checkpoints on "
        "which the verdict hangs (half_width of the study), 5% a share of each sensitivity (its precision).",
    ),
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    write_study: Path | None = typer.Option(None, help="Write the study of --recipe as YAML to this file, and stop."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary (or the dry run) as JSON."),
) -> None:
    quiet_libraries()
    if engine is EngineName.local and not dry_run and write_study is None:
        begin_workers(workers, out, study)
    from pliant.api import recipe as open_recipe
    from pliant.api import study as open_study
    from pliant.cli.outcome import conclude
    from pliant.cli.recipes import show_estimate
    from pliant.cli.recipes import write_study as write

    _check(study, recipe, dry_run, write_study, _adding(extend_grids, precision), batch_tokens)
    _check_allowed(recipe, {"--allow-pickle": allow_pickle, "--trust-remote-code": trust_remote_code})
    if recipe is not None and write_study is not None:
        write(recipe, write_study)
        return
    if recipe is not None and dry_run:
        show_estimate(recipe, checkpoints.bytes_of(cache_cap), as_json)
        return
    place = None if out is None else study_folder(out)
    if recipe is not None:
        begun = open_recipe(recipe, out=place)
    else:
        source = str(study_folder(study)) if study is not None and "://" in study else study or ""
        begun = open_study(source, out=place, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    opened = _with(begun, allow_suspect, batch_tokens, precision)
    if dry_run:
        show_plan(opened.spec, opened.folder, as_json)
        return
    if remeasure:
        _set_aside(opened)
    cap = checkpoints.bytes_of(cache_cap)
    chosen = engine_of(engine, opened.spec, opened.folder, workers=workers, slurm=slurm, address=address)
    again = partial(run_and_watch, workers=workers, log=log, engine=chosen, cache_cap=cap)
    tables, failures = again([(opened.spec, opened.folder)])
    if extend_grids:
        tables, failures = _extend(opened, tables, failures, again)
    conclude(
        tables, failures, report=opened.folder / "report.html", title=opened.spec.study, as_json=as_json, margin=margin
    )


def _check(
    study: str | None,
    recipe: str | None,
    dry_run: bool,
    write_study: Path | None,
    adding: str | None,
    batch_tokens: int | None,
) -> None:
    """Raises:
    SpecError: neither or both of STUDY and --recipe, or an option without effect.
    """
    from pliant.studies.spec import SpecError

    if study is None and recipe is None:
        raise SpecError("give STUDY (a YAML file, a study folder or module:function) or --recipe NAME")
    if study is not None and recipe is not None:
        raise SpecError(f"give STUDY ({study}) or --recipe {recipe}, not both")
    if write_study is not None and recipe is None:
        raise SpecError("--write-study has an effect with --recipe only; `pliant demo --write-study` writes the demo's")
    if write_study is not None and dry_run:
        raise SpecError(
            "--write-study writes the study and stops, --dry-run tells what it would take; give one of them"
        )
    if dry_run and adding is not None:
        raise SpecError(f"{adding} has no effect with --dry-run: what is added depends on what is measured")
    if recipe is not None and dry_run and batch_tokens is not None:
        raise SpecError("--batch-tokens has no effect on the estimate of a recipe; leave it out")


def _adding(extend_grids: bool, precision: str | None) -> str | None:
    """The option that lets the study grow as it is measured, if any."""
    if extend_grids:
        return "--extend-grids"
    return "--precision" if precision is not None else None


def _check_allowed(recipe: str | None, given: "dict[str, bool]") -> None:
    """Raises:
    SpecError: something is allowed that pliant's own recipes need no word for.
    """
    from pliant.studies.spec import SpecError

    for option in (option for option, is_given in given.items() if is_given and recipe is not None):
        raise SpecError(f"{option} has no effect with --recipe: what pliant's own studies open, they say; leave it out")


ROUNDS = 3
"""So often are grids made longer before their edge is reported as it is."""


def _extend(
    study: "Study",
    tables: "list[Table]",
    failures: "list[TaskFailure]",
    run: "Callable[[list[tuple[StudySpec, Path]]], tuple[list[Table], list[TaskFailure]]]",
) -> "tuple[list[Table], list[TaskFailure]]":
    """`run` again with longer grids as long as a best rate lies at an end, `ROUNDS` times at most."""
    from pliant.report.study import open_study
    from pliant.report.tuning import short_grids
    from pliant.studies.growth import extend_grids

    spec = study.spec
    for _ in range(ROUNDS):
        longer = extend_grids(spec, short_grids(open_study(tables[0])))
        if longer == spec:
            break
        spec = longer
        tables, failures = run([(spec, study.folder)])
    return tables, failures


def _set_aside(study: "Study") -> None:
    from pliant.studies.runner import set_aside_changed
    from pliant.studies.settling import planned

    plan = planned(study.spec, study.folder)
    for name, shelf in set_aside_changed(plan).items():
        typer.echo(f"{name}: records of other weights moved to {shelf}", err=True)


def _with(study: "Study", allow_suspect: bool, batch_tokens: int | None, precision: str | None) -> "Study":
    """The study with what the command line says of it; the batch is settled when its folder is made."""
    from dataclasses import replace

    from pliant.studies.growth import with_precision
    from pliant.studies.members import gather
    from pliant.studies.numerics import choose_numerics
    from pliant.studies.settling import STUDY_FILE
    from pliant.studies.spec import SpecError

    spec = study.spec.model_copy(update={"allow_suspect": True}) if allow_suspect else study.spec
    spec = with_precision(spec, precision) if precision is not None else spec
    if batch_tokens is not None:
        if (study.folder / STUDY_FILE).is_file():
            raise SpecError(
                f"{study.folder} has its numerics plan, which is part of what its records are; "
                f"--batch-tokens is for a new study: give another --out folder"
            )
        chosen = choose_numerics(spec, gather(spec, study.folder))
        spec = spec.model_copy(update={"numerics": replace(chosen, evaluation_batch_tokens=batch_tokens)})
    return replace(study, spec=spec)


def show_plan(spec: "StudySpec", folder: Path, as_json: bool) -> None:
    """The tasks and cells that are missing, what they would take, and what would be fetched."""
    import json
    import os

    from rich.table import Table as Grid

    from pliant.cli.outcome import console
    from pliant.execution.mirrors import shown
    from pliant.studies.group import GroupJob
    from pliant.studies.schedule import schedule
    from pliant.studies.settling import planned

    todo = schedule([planned(spec, folder)])
    if as_json:
        tasks = [
            {"task": t.label, "core_seconds": round(t.cost_seconds, 3), "needs": list(t.needs)} for t in todo.tasks
        ]
        cells = [
            {"cell": cell.key, **cell.labels} for plan in todo.plans for group in plan.groups for cell in group.cells
        ]
        typer.echo(json.dumps({"tasks": tasks, "cells": cells, "cells_missing": todo.cells_missing}))
        return
    grid = Grid("task", "cells", "core seconds", title=f"{spec.study} in {shown(folder)}")
    for task in (task for task in todo.tasks if not task.cleans_up):
        asked = len(task.payload.group.cells) if isinstance(task.payload, GroupJob) else ""
        grid.add_row(task.label, f"{asked}", f"{task.cost_seconds:,.1f}")
    screen = console()
    screen.print(grid)
    lanes = max(1, os.cpu_count() or 1)
    about = clock(todo.seconds / lanes)
    screen.print(
        f"{todo.cells_missing:,} of {todo.cells:,} cells to measure: about {about} on {lanes} core(s) "
        f"(estimate from the settings and this machine's speed now; +-50 %){fetching(todo.download_bytes)}"
    )
    if any(entry.fine_tune is not None and entry.fine_tune.search is not None for entry in spec.modifications):
        screen.print("The search of learning rates adds to that as it goes, mostly a third to a half of its grid.")
