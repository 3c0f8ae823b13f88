"""Compacting and undoing: the same bytes, the same table from either form, and nothing lost wherever it is killed."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from pliant.cli import app
from pliant.execution import compaction
from pliant.execution.compaction import compact, restore
from pliant.execution.planned import PlannedCell, write_plan
from pliant.execution.results import write_parquet
from pliant.execution.store import Store, StoreError
from pliant.execution.table import read_table
from pliant.records.record import Measurement, Record

CELLS = ("c", "a", "b")
EVALUATIONS = ("loss", "task")


def write(folder: Path, cell: str, evaluation: str, value: float = 0.1 + 0.2) -> None:
    found = tuple(Measurement(metric="loss_nats", value=v, blocks=(v, 1.0), count=(3, 4)) for v in (value, math.nan))
    record = Record(cell={"ü": cell}, evaluation={}, weights="sha256:0", status="ok", measurements=found, details={})
    Store(folder).write(cell, evaluation, record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    labels: dict[str, Any] = {name: {"evaluation": name} for name in EVALUATIONS}
    write_plan(folder, "mine", [PlannedCell(cell=c, labels={"checkpoint": c}, evaluations=labels) for c in CELLS])
    for cell in (*CELLS, "not planned"):
        for evaluation in EVALUATIONS:
            write(folder, cell, evaluation)
        Store(folder).write_run(cell, {"attempts": 1, "error": ""})
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "records").rglob("*") if p.is_file()}


def rows(folder: Path) -> str:
    return repr(list(read_table(folder).rows))  # repr: NaN equals nothing


def test_undoing_gives_the_very_bytes_back(folder: Path):
    before = files(folder)
    (folder / "records" / "a" / "loss.json").write_bytes(by_hand := before["records/a/loss.json"] + b" \r\n")
    compact(folder)
    assert files(folder) == {}
    restore(folder)
    assert files(folder) == before | {"records/a/loss.json": by_hand}
    assert not (folder / "records.parquet").exists()


def test_either_form_gives_the_same_table(folder: Path, tmp_path: Path):
    before, parquet = rows(folder), write_parquet(read_table(folder), tmp_path / "before.parquet").read_bytes()
    done = compact(folder)
    assert (done.before.files, done.after.files, done.missing) == (12, 1, 0)
    assert done.after.on_disk < done.before.on_disk
    assert rows(folder) == before
    assert write_parquet(read_table(folder), tmp_path / "after.parquet").read_bytes() == parquet


def test_a_store_answers_alike_in_either_form(folder: Path):
    def answers() -> list[Any]:
        store = Store(folder)
        asked = [(cell, evaluation) for cell in (*CELLS, "none") for evaluation in (*EVALUATIONS, "other")]
        there = [pair for pair in asked if store.has(*pair)]
        return [
            there,
            [repr(store.read(*pair)) for pair in there],
            [store.weights(*pair) for pair in there],
            [store.read_run(cell) for cell in (*CELLS, "none")],
            store.listing(),
            list(store.cells()),
        ]

    before = answers()
    assert len(before[0]) == 6
    assert before[2] == ["sha256:0"] * 6
    compact(folder)
    assert answers() == before


def test_a_study_that_grew_is_read_whole_and_compacted_again(folder: Path):
    (folder / "records" / "b" / "task.json").unlink()
    assert compact(folder).missing == 1
    write(folder, "b", "task", 5.0)
    both = rows(folder)
    assert "5.0" in both
    done = compact(folder)
    assert (done.before.files, done.after.files, done.missing) == (2, 1, 0)
    assert rows(folder) == both
    assert compact(folder).after == done.after


@pytest.mark.parametrize("step", ["_check", "_settle", "_remove"])
def test_killed_anywhere_nothing_is_lost(step: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    before, content = rows(folder), files(folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compaction, step, killed)
        with pytest.raises(KeyboardInterrupt):
            compact(folder)
    assert (files(folder), rows(folder)) == (content, before)
    compact(folder)
    assert (files(folder), rows(folder)) == ({}, before)


@pytest.mark.parametrize("left", range(12))
def test_killed_between_two_removals_or_two_writes(left: int, folder: Path, monkeypatch: pytest.MonkeyPatch):
    before, content = rows(folder), files(folder)
    for action, name in ((compact, "unlink"), (restore, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _after(left, getattr(os, name), "records/"))
            with pytest.raises(KeyboardInterrupt):
                action(folder)
        assert rows(folder) == before
        action(folder)
        assert rows(folder) == before
    assert files(folder) == content


def _after(calls: int, real: Callable[..., None], below: str) -> Callable[..., None]:
    """`real`, until it was called `calls` times on paths that hold `below`."""
    seen = [0]

    def counted(path: Any, *others: Any) -> None:
        seen[0] += below in str(path)
        if seen[0] > calls:
            raise KeyboardInterrupt
        real(path, *others)

    return counted


def test_a_file_written_anew_meanwhile_stays(folder: Path, monkeypatch: pytest.MonkeyPatch):
    settle = compaction._settle

    def and_a_record(*given: Path) -> None:
        settle(*given)
        write(folder, "a", "loss", 9.0)

    monkeypatch.setattr(compaction, "_settle", and_a_record)
    compact(folder)
    assert list(files(folder)) == ["records/a/loss.json"]
    assert "9.0" in rows(folder)


def test_a_parquet_file_that_is_not_what_was_read_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    check = compaction._check

    def damaged(path: Path, digest: Any, count: int) -> None:
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.slice(1).append_column("x", table.slice(1)["cell"]), path)
        check(path, digest, count)

    content = files(folder)
    monkeypatch.setattr(compaction, "_check", damaged)
    with pytest.raises(StoreError, match="every JSON file is still there"):
        compact(folder)
    assert files(folder) == content
    assert [path.name for path in folder.iterdir() if path.suffix == ".parquet"] == []


def test_a_damaged_record_is_named_and_nothing_done(folder: Path):
    (folder / "records" / "a" / "loss.json").write_text("{")
    with pytest.raises(StoreError, match=r"a/loss.json is not a record"):
        compact(folder)
    assert not (folder / "records.parquet").exists()
    assert len(files(folder)) == 12


def test_what_is_compacted_is_not_set_aside(folder: Path):
    compact(folder)
    with pytest.raises(StoreError, match=r"pliant compact .* --undo"):
        Store(folder).supersede("sha256:0", ["a"])


def test_the_command_says_what_it_did(folder: Path):
    said = CliRunner().invoke(app, ["compact", str(folder), "--json"])
    assert json.loads(said.stdout)["after"]["files"] == 1
    told = CliRunner().invoke(app, ["compact", str(folder), "--undo"])
    assert told.stdout.splitlines()[0].startswith("before: 1 file(s)")
    assert told.stdout.splitlines()[1].startswith("after: 12 file(s)")
    with pytest.raises(StoreError, match="its records are JSON files already"):
        CliRunner().invoke(app, ["compact", str(folder), "--undo"], catch_exceptions=False)
    with pytest.raises(StoreError, match="is not a study folder"):
        CliRunner().invoke(app, ["compact", str(folder.parent)], catch_exceptions=False)
