"""Records and plan joined into one tidy table: a row for each measured value."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.labels import LABELS, is_plain_label
from pliant.execution.mirrors import shown
from pliant.execution.store import Store, StoreError
from pliant.execution.writing import insisting, read_text, write_atomically
from pliant.records.identity import Json
from pliant.records.outside import clipped, is_plain_name, is_shown_name, parse_json
from pliant.records.parts import part_name

PLAN_FILE = "plan.json"
Row = Mapping[str, Any]
Labels = dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell as planned: its id, the labels of its rows, and the labels of each evaluation asked of it."""

    cell: str
    labels: Labels
    evaluations: Mapping[str, Labels]


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
    rows: tuple[Row, ...]
    planned: int
    missing: int
    failed: tuple[Failure, ...]
    settings: str
    notes: tuple[str, ...] = ()


def write_plan(folder: Path, study: str, cells: list[PlannedCell], notes: Sequence[str] = ()) -> None:
    """Write `plan.json`: derived from the study, rewritten by every run, read by every report.

    `notes` are what a reader must know of the data.
    """
    plan = {
        "study": study,
        "notes": list(notes),
        "cells": [{"cell": c.cell, "labels": c.labels, "evaluations": dict(c.evaluations)} for c in cells],
    }
    write_atomically(folder / PLAN_FILE, json.dumps(plan, separators=(",", ":")) + "\n")


def read_plan(folder: Path) -> tuple[str, list[PlannedCell]]:
    """The name of the study in `folder` and its planned cells.

    Raises:
        StoreError: `folder` is not a study folder.
    """
    study, cells, _ = _read_plan(folder)
    return study, cells


def _read_plan(folder: Path) -> tuple[str, list[PlannedCell], tuple[str, ...]]:
    path = folder / PLAN_FILE
    if not path.is_file():
        raise StoreError(
            f"{shown(folder)} is not a study folder: it has no {PLAN_FILE}; give a folder that `pliant run` made"
        )
    try:
        return parse_plan(read_text(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); `pliant run` on the study writes it anew") from error


def parse_plan(text: str | bytes) -> tuple[str, list[PlannedCell], tuple[str, ...]]:
    """The study's name, cells and notes of a `plan.json`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not what `write_plan` writes.
    """
    plan = parse_json(text)
    if not is_shown_name(plan["study"]):
        raise ValueError(f"the study is called {clipped(plan['study'])}, expected a line of text")
    cells = [PlannedCell(**cell) for cell in plan["cells"]]
    for cell in cells:
        _check_cell(cell)
    return plan["study"], cells, tuple(str(note) for note in plan.get("notes", ()))


def _check_cell(cell: PlannedCell) -> None:
    """
    Raises:
        ValueError: names that are no names of files, or labels that are no plain values.
    """
    for name in (cell.cell, *cell.evaluations):
        if not is_plain_name(name):
            raise ValueError(f"a cell or evaluation is called {clipped(name)}, expected the name of a file")
    for labels in (cell.labels, *cell.evaluations.values()):
        for label, value in labels.items():
            if not LABELS.get(label, is_plain_label)(value):
                raise ValueError(f"{label} is {clipped(value)} in cell {cell.cell}")


def read_table(folder: Path) -> Table:
    """The rows of every record that the plan of `folder` asks for and that is there."""
    store = Store(folder)
    study, cells, notes = _read_plan(folder)
    rows: list[Row] = []
    failed: list[Failure] = []
    missing = 0
    for cell in cells:
        present = [evaluation for evaluation in cell.evaluations if store.has(cell.cell, evaluation)]
        for evaluation in present:
            rows.extend(_rows(store, study, cell, evaluation))
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
    settings_file = folder / "study.yaml"
    return Table(
        folder=folder,
        study=study,
        rows=tuple(rows),
        planned=sum(len(cell.evaluations) for cell in cells),
        missing=missing,
        failed=tuple(failed),
        settings=settings_file.read_text(encoding="utf-8", errors="replace") if settings_file.is_file() else "",
        notes=notes,
    )


def _rows(store: Store, study: str, cell: PlannedCell, evaluation: str) -> Iterator[Row]:
    record = store.read(cell.cell, evaluation)
    shared = {
        "study": study,
        **cell.labels,
        **cell.evaluations[evaluation],
        "cell": cell.cell,
        "record": str(store.path(cell.cell, evaluation).relative_to(store.folder)),
        "weights": record["weights"],
        "status": record["status"],
    }
    try:
        for measurement in record["result"]["measurements"]:
            yield {
                **shared,
                **measurement,
                "value": number(measurement["value"]),
                "blocks": tuple(number(block) for block in measurement["blocks"]),
                "count": tuple(measurement["count"]),
                "linear": tuple(number(block) for block in measurement.get("linear", ())),
            }
    except (ValueError, OverflowError) as error:
        raise StoreError(
            f"{store.path(cell.cell, evaluation)} is not a record ({error}); delete it and run the study again"
        ) from error


def number(value: float | str) -> float:
    """A float as canonical JSON holds it: non-finite values are strings there."""
    return math.nan if value == "nan" else float(value)


def write_parquet(table: Table, path: Path) -> Path:
    """The table as Parquet, for pandas, polars, DuckDB or R."""
    import pyarrow
    import pyarrow.parquet

    names = sorted({name for row in table.rows for name in row})
    columns = {name: [_cell_value(row.get(name)) for row in table.rows] for name in names}
    temporary = path.with_name(part_name(path.suffix))
    pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
    insisting(lambda: temporary.replace(path))
    return path


def _cell_value(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
