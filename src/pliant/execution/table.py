"""Records and plan joined into one tidy table: a row for each measured value."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from sys import intern
from typing import Any

from pliant.execution.kept import FEWEST, Kept, Stamp, keep, read_kept
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
    since, kept = time.time_ns(), read_kept(folder)
    reader = _Reader(store=store, study={"study": study}, kept=kept)
    failed: list[Failure] = []
    missing = 0
    for cell in cells:
        listed = there.get(cell.cell, frozenset())
        present = [evaluation for evaluation in cell.evaluations if evaluation in listed]
        for evaluation in present:
            reader.read(cell, evaluation)
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
    if reader.anew >= FEWEST:
        keep(folder, list(zip(reader.found, reader.stamps, strict=True)), since)
    return Table(
        folder=folder,
        study=study,
        rows=Rows(reader.found),
        planned=sum(len(cell.evaluations) for cell in cells),
        missing=missing,
        failed=tuple(failed),
        settings=_settings(folder / "study.yaml"),
        notes=notes,
    )


def _settings(file: Path) -> str:
    return insisting(lambda: file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ""


class _Reader:
    """Reads records one after another; texts and counts that they have in common are held once.

    `stamps` are those of the files that each of `found` is from, `anew` how many of these were opened.
    """

    def __init__(self, store: Store, study: Row, kept: Kept | None) -> None:
        self.store, self.study, self.kept = store, study, kept
        self.counts: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.found: list[Found] = []
        self.stamps: list[Stamp | None] = []
        self.anew = 0

    def read(self, cell: PlannedCell, evaluation: str) -> None:
        """Add what one record holds to `found`: one `Found`, or one for each run of measurements of the same names.

        Raises:
            StoreError: a text in it that should be a number, or one that no float can hold.
        """
        stamp = self.store.stamp(cell.cell, evaluation)
        found = self._known(cell, evaluation, stamp)
        if not found:
            self.anew += 1
            try:
                found = list(self._read(cell, evaluation))
            except (ValueError, OverflowError) as error:
                if isinstance(error, StoreError):
                    raise
                path = self.store.path(cell.cell, evaluation)
                raise StoreError(f"{path} is not a record ({error}); delete it and run the study again") from error
        self.found += found
        self.stamps += [stamp] * len(found)

    def _known(self, cell: PlannedCell, evaluation: str, stamp: Stamp | None) -> list[Found]:
        if self.kept is None or stamp is None:
            return []
        return [
            self._found(cell, evaluation, weights, status, names, values)
            for weights, status, names, values in self.kept.find(cell.cell, evaluation, stamp)
        ]

    def _read(self, cell: PlannedCell, evaluation: str) -> Iterator[Found]:
        record = self.store.read(cell.cell, evaluation)
        rows = map(self._row, record["result"]["measurements"])
        for names, some in groupby(rows, key=tuple):
            yield self._found(
                cell,
                evaluation,
                intern(record["weights"]),
                intern(record["status"]),
                self.names.setdefault(names, names),
                tuple(tuple(row.values()) for row in some),
            )

    def _found(
        self,
        cell: PlannedCell,
        evaluation: str,
        weights: str,
        status: str,
        names: tuple[str, ...],
        values: tuple[tuple[Any, ...], ...],
    ) -> Found:
        return Found(
            study=self.study,
            labels=parts_of(cell.labels),
            asked=cell.evaluations[evaluation],
            cell=cell.cell,
            evaluation=evaluation,
            weights=weights,
            status=status,
            names=names,
            values=values,
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
