"""Plan and records joined: which rows there are, what is missing, and that no number changes on the way."""

import json
import math
from pathlib import Path

import pyarrow.parquet
import pytest

from pliant.execution.results import write_parquet
from pliant.execution.store import Store, StoreError
from pliant.execution.table import PlannedCell, number, read_plan, read_table, write_plan
from pliant.records.floats import Floats
from pliant.records.record import Measurement, Record

VALUES = (0.1 + 0.2, math.nan, math.inf, -math.inf, 5e-324)


def planned(cell: str, *evaluations: str) -> PlannedCell:
    labels = {key: {"evaluation": key, **({"task": "skip"} if key == "task" else {})} for key in evaluations}
    return PlannedCell(cell=cell, labels={"checkpoint": "512", "tokens": 512, "task": None}, evaluations=labels)


def write(folder: Path, cell: str, evaluation: str, *values: float) -> None:
    found = tuple(
        Measurement(metric="loss_nats", value=value, draw=draw, sign=1, blocks=(value, 1.0), count=(3, 4))
        for draw, value in enumerate(values)
    )
    record = Record(cell={}, evaluation={}, weights="sha256:0", status="ok", measurements=found, details={})
    Store(folder).write(cell, evaluation, record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_plan(tmp_path, "mine", [planned("a", "loss", "task"), planned("b", "loss"), planned("c", "loss")])
    write(tmp_path, "a", "loss", *VALUES)
    write(tmp_path, "b", "loss", 2.0)
    write(tmp_path, "not planned", "loss", 7.0)
    return tmp_path


def test_a_row_for_each_value_of_each_planned_record(folder: Path):
    table = read_table(folder)
    assert table.study == "mine"
    assert [(row["cell"], row["draw"]) for row in table.rows] == [("a", n) for n in range(5)] + [("b", 0)]
    assert {row["checkpoint"] for row in table.rows} == {"512"}
    assert all((folder / row["record"]).is_file() for row in table.rows)


def test_what_is_missing_is_counted(folder: Path):
    table = read_table(folder)
    assert (table.planned, table.missing, table.failed) == (4, 2, ())


def test_labels_of_the_evaluation_overrule_those_of_the_cell(folder: Path):
    write(folder, "a", "task", 3.0)
    rows = {row["evaluation"]: row["task"] for row in read_table(folder).rows if row["cell"] == "a"}
    assert rows == {"loss": None, "task": "skip"}


def test_numbers_come_back_exactly_and_finite_or_not(folder: Path):
    found = [row["value"] for row in read_table(folder).rows if row["cell"] == "a"]
    assert found[0] == 0.1 + 0.2
    assert math.isnan(found[1])
    assert found[2:] == [math.inf, -math.inf, 5e-324]
    blocks = [row["blocks"] for row in read_table(folder).rows if row["cell"] == "a"]
    assert math.isnan(blocks[1][0])
    assert blocks[2] == (math.inf, 1.0)


def test_number_reads_what_canonical_json_writes():
    assert [number("inf"), number("-inf"), number(2)] == [math.inf, -math.inf, 2.0]
    assert math.isnan(number("nan"))


def test_parquet_holds_the_rows(folder: Path):
    table = read_table(folder)
    back = pyarrow.parquet.read_table(write_parquet(table, folder / "results.parquet")).to_pylist()
    assert len(back) == len(table.rows)
    for row, stored in zip(table.rows, back, strict=True):
        plain = {name: list(value) if isinstance(value, (tuple, Floats)) else value for name, value in row.items()}
        assert repr({name: stored[name] for name in plain}) == repr(plain)  # repr: NaN equals nothing
    assert [path.name for path in folder.glob(".part-*")] == []


def test_a_table_without_rows_is_written(tmp_path: Path):
    write_plan(tmp_path, "mine", [planned("a", "loss")])
    out = write_parquet(read_table(tmp_path), tmp_path / "results.parquet")
    assert pyarrow.parquet.read_table(out).num_rows == 0


def test_a_cell_that_failed_is_listed_with_its_error_until_its_records_are_there(folder: Path):
    Store(folder).write_run("c", {"attempts": 2, "error": "RuntimeError: no"})
    Store(folder).write_run("b", {"attempts": 2, "error": "RuntimeError: an older failure"})
    (failure,) = read_table(folder).failed
    assert (failure.cell, failure.attempts, failure.error) == ("c", 2, "RuntimeError: no")
    write(folder, "c", "loss", 1.0)
    assert read_table(folder).failed == ()


def test_a_plan_is_read_as_it_was_written(folder: Path):
    assert read_plan(folder) == ("mine", [planned("a", "loss", "task"), planned("b", "loss"), planned("c", "loss")])


def test_a_folder_that_is_no_study_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match=r"is not a study folder: it has no plan.json") as caught:
        read_table(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"study":"x","cells":[{"cell":"a"}]}'])
def test_a_plan_that_cannot_be_read_is_named(content: str, tmp_path: Path):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(StoreError, match=r"plan.json cannot be read"):
        read_table(tmp_path)


def test_an_unreadable_record_stops_the_table(folder: Path):
    Store(folder).path("b", "loss").write_text("{")
    with pytest.raises(StoreError, match="moves it aside, and `pliant run` then measures it again"):
        read_table(folder)


def test_a_table_is_the_same_wherever_the_folder_lies(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(other)
    assert json.loads((other / "plan.json").read_text())["study"] == "mine"
    assert [row["record"] for row in read_table(other).rows][-1] == "records/b/loss.json"
