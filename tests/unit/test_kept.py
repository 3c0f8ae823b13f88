"""Records kept as they were read last: the same table, only what changed is opened, and nothing is trusted blindly."""

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from pliant.execution import kept, table
from pliant.execution.compaction import compact
from pliant.execution.kept import KEPT
from pliant.execution.planned import PlannedCell, write_plan
from pliant.execution.store import Store
from pliant.execution.table import read_table
from pliant.records.record import Measurement, Record

CELLS = ("c", "a", "b")
LONG_AGO = time.time() - 1000


def write(folder: Path, cell: str, evaluation: str, *measurements: Measurement, changed: float = LONG_AGO) -> None:
    record = Record(cell={}, evaluation={}, weights="sha256:0", status="ok", measurements=measurements, details={})
    Store(folder).write(cell, evaluation, record)
    os.utime(Store(folder).path(cell, evaluation), (changed, changed))


def losses(value: float) -> tuple[Measurement, ...]:
    """Two copies of a noisy model, one of them not finite, and a value without blocks."""
    return (
        Measurement(metric="loss_nats", value=value, split="test", draw=0, sign=1, blocks=(value, 1.0), count=(3, 4)),
        Measurement(metric="loss_nats", value=math.nan, split="test", draw=0, sign=-1, blocks=(math.inf,), count=(3,)),
        Measurement(metric="distance", value=math.inf, tensor="model.layers.0"),
    )


LINEAR = Measurement(metric="loss_nats", value=1.0, blocks=(1.0, 2.0), count=(1, 2), linear=(0.1, -0.2))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of which every record is worth keeping."""
    monkeypatch.setattr(table, "FEWEST", 1)
    monkeypatch.setattr(kept, "AT_ONCE", 2)
    labels: dict[str, Any] = {name: {"evaluation": name} for name in ("loss", "noise")}
    write_plan(tmp_path, "mine", [PlannedCell(cell=c, labels={"checkpoint": c}, evaluations=labels) for c in CELLS])
    for number, cell in enumerate(CELLS):
        write(tmp_path, cell, "loss", *losses(0.1 * number))
        write(tmp_path, cell, "noise", LINEAR, *losses(0.2 * number))
    return tmp_path


def rows(folder: Path) -> str:
    return repr([dict(sorted(row.items())) for row in read_table(folder).rows])  # repr: NaN equals nothing


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The records that were opened."""
    found: list[tuple[str, str]] = []
    read = Store.read

    def noting(store: Store, cell: str, evaluation: str) -> dict[str, Any]:
        found.append((cell, evaluation))
        return read(store, cell, evaluation)

    monkeypatch.setattr(Store, "read", noting)
    return found


def test_nothing_is_opened_twice_and_the_table_is_the_same(folder: Path, opened: list[tuple[str, str]]) -> None:
    first = rows(folder)
    assert len(opened) == 6
    assert rows(folder) == first
    assert repr(read_table(folder).readings()) == repr(read_table(folder).readings())
    assert len(opened) == 6
    (folder / KEPT).unlink()
    assert rows(folder) == first
    assert len(opened) == 12


def test_what_changed_is_read_again(folder: Path, opened: list[tuple[str, str]]) -> None:
    rows(folder)
    opened.clear()
    write(folder, "a", "loss", *losses(7.25))  # another size, the same time
    write(folder, "b", "loss", *losses(0.2), changed=LONG_AGO + 1)  # the same size, another time
    Store(folder).path("c", "noise").unlink()
    found = read_table(folder)
    assert opened == [("a", "loss"), ("b", "loss")]
    value = next(row["value"] for row in found.rows if (row["cell"], row["evaluation"]) == ("a", "loss"))
    assert (found.missing, value) == (1, 7.25)
    opened.clear()
    rows(folder)
    assert opened == []


def test_a_file_that_may_still_change_is_not_kept(folder: Path, opened: list[tuple[str, str]]) -> None:
    write(folder, "a", "loss", *losses(7.0), changed=time.time())
    write(folder, "b", "loss", *losses(7.0), changed=time.time() + 1000)  # of a clock that is ahead
    rows(folder)
    opened.clear()
    rows(folder)
    assert opened == [("a", "loss"), ("b", "loss")]


def test_what_cannot_be_kept_is_read(folder: Path, opened: list[tuple[str, str]]) -> None:
    path = Store(folder).path("a", "noise")
    text = path.read_text().replace('"metric":"distance"', '"later":1,"metric":"distance"')
    path.write_text(text.replace(text[text.index('"checksum"') : text.index('"evaluation"')], ""))
    os.utime(path, (LONG_AGO, LONG_AGO))
    first = rows(folder)
    opened.clear()
    assert rows(folder) == first
    assert opened == [("a", "noise")]


def signed(content: bytes) -> bytes:
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "something else": lambda whole: signed(bytes(64)),
    "half": lambda whole: whole[: len(whole) // 2],
    "a lost bit": lambda whole: whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:],
    "another form": lambda whole: signed(whole.replace(b"form", b"from")),
    "an escape sequence": lambda whole: signed(whole.replace(b"distance", b"\x1b[2Jance")),
    "words that are not there": lambda whole: signed(whole.replace(b"sha256:0", b"")),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_is_not_what_was_written_is_not_used(folder: Path, spoilt: str, opened: list[tuple[str, str]]) -> None:
    first = rows(folder)
    (folder / KEPT).write_bytes(SPOILT[spoilt]((folder / KEPT).read_bytes()))
    opened.clear()
    assert rows(folder) == first
    assert len(opened) == 6
    assert rows(folder) == first
    assert len(opened) == 6  # it was written anew


def test_a_folder_that_takes_no_file_is_read_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    first = rows(folder)
    (folder / KEPT).unlink()
    monkeypatch.setattr(pyarrow, "OSFile", full)
    assert rows(folder) == first
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_compacted_study_is_kept_by_its_one_file(folder: Path, opened: list[tuple[str, str]]) -> None:
    first = rows(folder)
    compact(folder)
    os.utime(folder / "records.parquet", (LONG_AGO, LONG_AGO))
    opened.clear()
    assert rows(folder) == first
    assert len(opened) == 6
    assert rows(folder) == first
    assert len(opened) == 6
