"""What a study folder holds and what is wrong with it, moved aside so that the next run mends it."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from pliant.execution import fsck
from pliant.execution.fsck import Problem
from pliant.execution.store import Store, StoreError, sweep
from pliant.execution.table import PLAN_FILE, PlannedCell, read_plan
from pliant.execution.writing import naming_what_stops_writing
from pliant.records.identity import Json
from pliant.studies.artifacts import artifact_problems
from pliant.studies.documents import document_problems
from pliant.studies.settling import STUDY_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a study folder holds and what is wrong with it. `planned` is None where there is no plan to read.

    `moved` says where repairing has put what (path before -> path now, below the folder); `swept` counts what it
    deleted of files that were never finished.
    """

    folder: Path
    records: int
    with_checksum: int
    planned: int | None
    missing: int
    orphans: int
    problems: tuple[Problem, ...]
    moved: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    swept: int = 0

    @property
    def next(self) -> str:
        """What `pliant run` will do."""
        run = f"`pliant run {self.folder}`"
        if not (self.folder / STUDY_FILE).is_file():
            run = f"`pliant run STUDY.yaml --out {self.folder}`, with the file that the study was made from,"
        if self.planned is None:
            return f"{run} plans the study anew and measures what has no record"
        if self.missing:
            return f"{run} measures {self.missing:,} of {self.planned:,} records"
        return f"every record is there: {run} measures nothing"

    def to_json(self) -> dict[str, Json]:
        content = {name: getattr(self, name) for name in ("records", "with_checksum", "planned", "missing", "orphans")}
        problems: list[Json] = [{**asdict(problem)} for problem in self.problems]
        moved: dict[str, Json] = {**self.moved}
        return {
            "folder": str(self.folder),
            **content,
            "problems": problems,
            "moved": moved,
            "swept": self.swept,
            "next": self.next,
        }


def examine(folder: Path) -> Examination:
    """Read everything in the study folder `folder`; nothing is changed.

    Raises:
        StoreError: it is no study folder.
    """
    store = Store(folder)
    if not any((folder / name).exists() for name in (STUDY_FILE, PLAN_FILE, "records")):
        raise StoreError(f"{folder} is not a study folder: it has no {STUDY_FILE}; give one that `pliant run` made")
    found = fsck.survey(store)
    plan = _plan(folder)
    asked = {(cell.cell, key) for cell in plan for key in cell.evaluations} if plan is not None else None
    problems = [*document_problems(folder), *found.problems, *artifact_problems(folder, found.origins)]
    return Examination(
        folder=folder,
        records=len(found.weights),
        with_checksum=found.with_checksum,
        planned=len(asked) if asked is not None else None,
        missing=len(asked - found.weights.keys()) if asked is not None else 0,
        orphans=len(found.weights.keys() - asked) if asked is not None else 0,
        problems=(*problems, *fsck.leftovers(store), *fsck.tree(store)),
    )


def repair(examined: Examination) -> Examination:
    """Move aside what is damaged, delete what was never finished, and examine again. No measurement is deleted.

    Raises:
        UserError: the folder cannot be written.
    """
    store = Store(examined.folder)
    moved: dict[str, str] = {}
    with naming_what_stops_writing(store.folder):
        for name in (problem.path for problem in examined.problems if problem.remedy == "aside"):
            if os.path.lexists(store.folder / name):  # not moved with the folder that it was in
                there = store.set_aside(store.folder / name)
                moved[name] = there.relative_to(store.folder).as_posix()
        swept = sweep(store.folder / problem.path for problem in examined.problems if problem.remedy == "sweep")
    return replace(examine(store.folder), moved=moved, swept=swept)


def _plan(folder: Path) -> list[PlannedCell] | None:
    try:
        return read_plan(folder)[1]
    except (StoreError, OSError):  # told with the documents, or with the permissions
        return None
