"""Records and plan joined into one tidy table: a row for each measured value."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.mirrors import shown
from pliant.execution.store import Store, StoreError, write_atomically
from pliant.records.identity import Json

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
        plan = json.loads(path.read_text(encoding="utf-8"))
        return plan["study"], [PlannedCell(**cell) for cell in plan["cells"]], tuple(plan.get("notes", ()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); `pliant run` on the study writes it anew") from error


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
                    attempts=int(run.get("attempts", 1)),
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
        settings=settings_file.read_text(encoding="utf-8") if settings_file.is_file() else "",
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
    for measurement in record["result"]["measurements"]:
        yield {
            **shared,
            **measurement,
            "value": number(measurement["value"]),
            "blocks": tuple(number(block) for block in measurement["blocks"]),
            "count": tuple(measurement["count"]),
            "linear": tuple(number(block) for block in measurement.get("linear", ())),
        }


def number(value: float | str) -> float:
    """A float as canonical JSON holds it: non-finite values are strings there."""
    return math.nan if value == "nan" else float(value)


def write_parquet(table: Table, path: Path) -> Path:
    """The table as Parquet, for pandas, polars, DuckDB or R."""
    import pyarrow
    import pyarrow.parquet

    names = sorted({name for row in table.rows for name in row})
    columns = {name: [_cell_value(row.get(name)) for row in table.rows] for name in names}
    temporary = path.with_name(f".part-{path.name}")
    pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
    temporary.replace(path)
    return path


def _cell_value(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
