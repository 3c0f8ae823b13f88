"""From a study to its records: plan, run what is missing, write the tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pliant.checkpoints.hub.pins import Pinned
from pliant.execution.engine import Engine, Observer, TaskFailure, UserError
from pliant.execution.links import refuse_links
from pliant.execution.local import SerialEngine
from pliant.execution.mirrors import mirror_of, publish
from pliant.execution.planned import write_plan
from pliant.execution.remote import Listener, quiet
from pliant.execution.results import write_parquet
from pliant.execution.store import Store, StoreError
from pliant.execution.table import Table, read_table
from pliant.execution.writing import naming_what_stops_writing
from pliant.modifications.merge import parts_weights
from pliant.studies.downloads import room_for
from pliant.studies.engines import HERE, EngineChoice, opened
from pliant.studies.group import recorded_weights, release_model
from pliant.studies.members import Progress
from pliant.studies.plan import Plan
from pliant.studies.precision import draw_on
from pliant.studies.schedule import Schedule, schedule
from pliant.studies.search import search_on
from pliant.studies.settling import STUDY_FILE, planned, prepare
from pliant.studies.spec import StudySpec
from pliant.studies.splitting import split
from pliant.studies.work import perform


def run_studies(
    studies: Sequence[tuple[StudySpec, Path]],
    *,
    engine: Engine | EngineChoice = HERE,
    workers: int | None = None,
    observe: Callable[[Schedule], Observer],
    cache_cap: int | None = None,
    listing: Progress | None = None,
    pins: Mapping[str, Pinned] = MappingProxyType({}),
    transfer: Listener = quiet,
) -> tuple[list[Table], list[TaskFailure]]:
    """Run what is missing of each study in its folder; return the tables and the tasks that failed.

    Where a study asks for a precision, that is repeated with the draws that its intervals lack; where it searches for
    rates, with those that come next.

    Weights fetched from the Hub never take more than `cache_cap` bytes at once; by default those of one checkpoint a
    worker and the next. `listing` hears how far the listing of repositories is; those in `pins` need none. `transfer`
    hears of files that go to a remote study folder, or come from it.

    Raises:
        ValueError: bad input, found before anything runs.
    """
    failures: list[TaskFailure] = []
    asked = list(studies)
    while True:
        plans = [planned(spec, folder, progress=listing, pins=pins) for spec, folder in asked]
        tables, failed = _run(plans, engine, workers, observe, cache_cap, transfer)
        failures += failed
        grown = [
            (search_on(draw_on(plan.spec, table), table), plan.folder)
            for plan, table in zip(plans, tables, strict=True)
        ]
        if failures or all(spec == plan.spec for (spec, _), plan in zip(grown, plans, strict=True)):
            return tables, failures
        asked = grown


def _run(
    plans: Sequence[Plan],
    engine: Engine | EngineChoice,
    workers: int | None,
    observe: Callable[[Schedule], Observer],
    cache_cap: int | None,
    transfer: Listener,
) -> tuple[list[Table], list[TaskFailure]]:
    for plan in plans:
        with naming_what_stops_writing(plan.folder):
            refuse_links(plan.folder)
            prepare(plan)
            Store(plan.folder).sweep_leftovers()
            write_plan(plan.folder, plan.spec.study, plan.cells(), plan.data_notes)
    whole = schedule(plans)
    if whole.tasks:
        refuse_damaged(plans)
    _push_what_counts(plans, transfer, anyway=bool(whole.tasks))
    # nothing to do is no reason to start a cluster
    with opened(engine if whole.tasks else SerialEngine(), plans, workers) as (chosen, lanes):
        todo = split(whole, lanes)
        room = room_for(todo.tasks, cache_cap, lanes)
        observer = observe(todo)
        try:
            failures = chosen.run(todo.tasks, perform, observer, room=room) if todo.tasks else []
        finally:
            release_model()  # where the engine worked in this process
    if whole.tasks:
        _follow(plans, transfer)
    tables = [read_table(plan.folder) for plan in plans]
    for table in tables:
        with naming_what_stops_writing(table.folder):
            publish(write_parquet(table, table.folder / "results.parquet"))
    return tables, failures


def refuse_damaged(plans: Sequence[Plan]) -> None:
    """Check every record that the plans ask for, so that hours are not spent before one is found to be damaged.

    Raises:
        StoreError: some are; the first is named.
    """
    damaged: list[StoreError] = []
    for plan in plans:
        store = Store(plan.folder)
        for cell in (cell for group in plan.groups for cell in group.cells):
            for evaluation in cell.evaluations:
                try:
                    if store.has(cell.key, evaluation.key):
                        store.check(cell.key, evaluation.key)
                except StoreError as error:
                    damaged.append(error)
    if damaged:
        more = f" ({len(damaged)} such records)" if len(damaged) > 1 else ""
        raise StoreError(f"{damaged[0]}{more}")


def _push_what_counts(plans: Sequence[Plan], transfer: Listener, *, anyway: bool) -> None:
    """Bring a remote study up to what its mirror has: what a killed run left, the study and its numerics plan.

    The study itself `anyway`: who may not write there hears of it before anything is computed.
    """
    for plan in plans:
        if (mirror := mirror_of(plan.folder)) is not None:
            mirror.push([plan.folder / STUDY_FILE], anyway=anyway)
            mirror.push(mirror.unpushed(), listener=transfer)
            mirror.push(path for path in plan.folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _follow(plans: Sequence[Plan], transfer: Listener) -> None:
    """Push what a remote did not take at its time; fetch what other machines measured for this run, or beside it."""
    for mirror in {mirror for plan in plans if (mirror := mirror_of(plan.folder)) is not None}:
        mirror.push(mirror.unpushed(), listener=transfer)
        mirror.pull(transfer)


def set_aside_changed(plan: Plan) -> dict[str, Path]:
    """Move away the records that were measured on other weights than a ladder now has; return where to, by checkpoint.

    Raises:
        UserError: nothing has changed.
    """
    store, mirror = Store(plan.folder), mirror_of(plan.folder)
    moved: dict[str, Path] = {}
    for group in plan.groups:
        if group.ladder is None:
            continue
        if mirror is not None:
            for part in group.parts:
                mirror.fetch_folder(part.folder)
        if not all(part.folder.is_dir() for part in group.parts):
            continue
        old = recorded_weights(store, group.cells) - {parts_weights(group.parts)}
        for weights in old:
            cells = [cell.key for cell in group.cells if weights in recorded_weights(store, (cell,))]
            moved[group.name] = store.supersede(weights, cells)
            if mirror is not None:
                mirror.push(mirror.unpushed())
                mirror.delete(store.records / cell for cell in cells)
    if not moved:
        raise UserError(
            f"{plan.folder}: every record was measured on the weights that are there; nothing to re-measure"
        )
    return moved
