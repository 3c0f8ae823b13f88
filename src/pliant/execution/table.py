"""Records and plan joined into one tidy table: a row for each measured value."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from sys import intern
from typing import Any

from pliant.execution.labels import Labels, parts_of
from pliant.execution.planned import PLAN_FILE, PlannedCell, read_plan, read_whole_plan, write_plan
from pliant.execution.store import Store, StoreError
from pliant.execution.writing import insisting
from pliant.records.floats import Floats
from pliant.records.rows import Found, Row, Rows
from pliant.statistics import Reading, readings

__all__ = ["PLAN_FILE", "Failure", "PlannedCell", "Row", "Table", "number", "read_plan", "read_table", "write_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A cell that was tried and has no record: where, how often, and the last error."""

    cell: str
    labels: Labels
    attempts: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The tidy table of one study. `missing` counts records planned and not there (failed ones included)."""

    folder: Path
    study: str
    rows: Sequence[Row]
    planned: int
    missing: int
    failed: tuple[Failure, ...]
    settings: str
    notes: tuple[str, ...] = ()
    memo: list[tuple[Reading, ...]] = field(default_factory=list, init=False, repr=False, compare=False)

    def readings(self) -> tuple[Reading, ...]:
        """The rows as typed readings, made once."""
        if not self.memo:
            self.memo.append(readings(self.rows))
        return self.memo[0]


def read_table(folder: Path) -> Table:
    """The rows of every record that the plan of `folder` asks for and that is there."""
    store = Store(folder)
    study, cells, notes = read_whole_plan(folder)
    there = store.listing()
    reader = _Reader(store=store, study={"study": study})
    found: list[Found] = []
    failed: list[Failure] = []
    missing = 0
    for cell in cells:
        listed = there.get(cell.cell, frozenset())
        present = [evaluation for evaluation in cell.evaluations if evaluation in listed]
        for evaluation in present:
            found.extend(reader.read(cell, evaluation))
        missing += len(cell.evaluations) - len(present)
        if len(present) < len(cell.evaluations) and (run := store.read_run(cell.cell)).get("error"):
            failed.append(
                Failure(
                    cell=cell.cell,
                    labels=cell.labels,
                    attempts=attempts if isinstance(attempts := run.get("attempts"), int) else 1,
                    error=str(run["error"]),
                )
            )
    return Table(
        folder=folder,
        study=study,
        rows=Rows(found),
        planned=sum(len(cell.evaluations) for cell in cells),
        missing=missing,
        failed=tuple(failed),
        settings=_settings(folder / "study.yaml"),
        notes=notes,
    )


def _settings(file: Path) -> str:
    return insisting(lambda: file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ""


class _Reader:
    """Reads records one after another; texts and counts that they have in common are kept once."""

    def __init__(self, store: Store, study: Row) -> None:
        self.store, self.study = store, study
        self.counts: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(self, cell: PlannedCell, evaluation: str) -> Iterator[Found]:
        """The rows of one record: one `Found`, or one for each run of measurements of the same names.

        Raises:
            StoreError: a text in it that should be a number, or one that no float can hold.
        """
        try:
            yield from self._read(cell, evaluation)
        except (ValueError, OverflowError) as error:
            if isinstance(error, StoreError):
                raise
            path = self.store.path(cell.cell, evaluation)
            raise StoreError(f"{path} is not a record ({error}); delete it and run the study again") from error

    def _read(self, cell: PlannedCell, evaluation: str) -> Iterator[Found]:
        record = self.store.read(cell.cell, evaluation)
        shared = (self.study, *parts_of(cell.labels), cell.evaluations[evaluation])
        rows = map(self._row, record["result"]["measurements"])
        for names, some in groupby(rows, key=tuple):
            yield Found(
                shared=shared,
                cell=cell.cell,
                evaluation=evaluation,
                weights=intern(record["weights"]),
                status=intern(record["status"]),
                names=self.names.setdefault(names, names),
                values=tuple(tuple(row.values()) for row in some),
            )

    def _row(self, measurement: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers as numbers, and each text and count as the one that was met first."""
        count = tuple(measurement["count"])
        row = {name: intern(value) if type(value) is str else value for name, value in measurement.items()}
        row["value"] = number(measurement["value"])
        row["blocks"] = _floats(measurement["blocks"])
        row["count"] = self.counts.setdefault(count, count)
        row["linear"] = _floats(measurement.get("linear", ()))
        return row


def _floats(values: Sequence[float | str]) -> Floats:
    if not values:
        return _NONE
    try:
        return Floats(values)  # type: ignore[arg-type]  # as they nearly always are
    except TypeError:
        return Floats(map(number, values))


_NONE = Floats(())


def number(value: float | str) -> float:
    """A float as canonical JSON holds it: non-finite values are strings there."""
    return math.nan if value == "nan" else float(value)
