"""From a study to its records: plan, run what is missing, write the tables."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pliant.checkpoints.hub.pins import Pinned
from pliant.execution.engine import Engine, Observer, TaskFailure, UserError
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.planned import write_plan
from pliant.execution.results import write_parquet
from pliant.execution.store import Store, naming_a_full_disk
from pliant.execution.table import Table, read_table
from pliant.modifications.merge import parts_weights
from pliant.studies.downloads import room_for
from pliant.studies.group import recorded_weights, release_model
from pliant.studies.members import Progress
from pliant.studies.plan import Plan
from pliant.studies.precision import draw_on
from pliant.studies.schedule import Schedule, schedule
from pliant.studies.settling import planned, prepare
from pliant.studies.spec import StudySpec
from pliant.studies.work import perform


def run_studies(
    studies: Sequence[tuple[StudySpec, Path]],
    *,
    engine: Engine | None = None,
    workers: int | None = None,
    observe: Callable[[Schedule], Observer],
    cache_cap: int | None = None,
    listing: Progress | None = None,
    pins: Mapping[str, Pinned] = MappingProxyType({}),
) -> tuple[list[Table], list[TaskFailure]]:
    """Run what is missing of each study in its folder; return the tables and the tasks that failed.

    Where a study asks for a precision, that is repeated with the draws that its intervals lack.

    Weights fetched from the Hub never take more than `cache_cap` bytes at once; by default those of one checkpoint a
    worker and the next. `listing` hears how far the listing of repositories is; those in `pins` need none.

    Raises:
        ValueError: bad input, found before anything runs.
    """
    failures: list[TaskFailure] = []
    asked = list(studies)
    while True:
        plans = [planned(spec, folder, progress=listing, pins=pins) for spec, folder in asked]
        tables, failed = _run(plans, engine, workers, observe, cache_cap)
        failures += failed
        grown = [(draw_on(plan.spec, table), plan.folder) for plan, table in zip(plans, tables, strict=True)]
        if failures or all(spec == plan.spec for (spec, _), plan in zip(grown, plans, strict=True)):
            return tables, failures
        asked = grown


def _run(
    plans: Sequence[Plan],
    engine: Engine | None,
    workers: int | None,
    observe: Callable[[Schedule], Observer],
    cache_cap: int | None,
) -> tuple[list[Table], list[TaskFailure]]:
    for plan in plans:
        with naming_a_full_disk(plan.folder):
            prepare(plan)
            Store(plan.folder).sweep_leftovers()
            write_plan(plan.folder, plan.spec.study, plan.cells(), plan.data_notes)
    chosen = engine or default_engine(plans[0].spec, workers)
    lanes = max(1, getattr(chosen, "workers", 1))
    todo = replace(schedule(plans), lanes=lanes)
    room = room_for(todo.tasks, cache_cap, lanes)
    observer = observe(todo)
    try:
        failures = chosen.run(todo.tasks, perform, observer, room=room) if todo.tasks else []
    finally:
        release_model()  # where the engine worked in this process
    tables = [read_table(plan.folder) for plan in plans]
    for table in tables:
        with naming_a_full_disk(table.folder):
            write_parquet(table, table.folder / "results.parquet")
    return tables, failures


def default_engine(spec: StudySpec, workers: int | None = None) -> Engine:
    """Worker processes for this machine's cores, `numerics.threads` each; one worker where there is an accelerator."""
    cores = 1 if spec.numerics.device != "cpu" else (os.cpu_count() or 1) // spec.numerics.threads
    count = workers if workers is not None else max(1, cores)
    return LocalEngine(workers=count, threads=spec.numerics.threads) if count > 0 else SerialEngine()


def set_aside_changed(plan: Plan) -> dict[str, Path]:
    """Move away the records that were measured on other weights than a ladder now has; return where to, by checkpoint.

    Raises:
        UserError: nothing has changed.
    """
    store = Store(plan.folder)
    moved: dict[str, Path] = {}
    for group in plan.groups:
        if group.ladder is None or not all(part.folder.is_dir() for part in group.parts):
            continue
        old = recorded_weights(store, group.cells) - {parts_weights(group.parts)}
        for weights in old:
            cells = [cell.key for cell in group.cells if weights in recorded_weights(store, (cell,))]
            moved[group.name] = store.supersede(weights, cells)
    if not moved:
        raise UserError(
            f"{plan.folder}: every record was measured on the weights that are there; nothing to re-measure"
        )
    return moved
