"""What every place that a study can lie in promises: whole records or none, and the same ones as anywhere else."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from places import PLACES

from pliant.execution.store import Store, StoreError
from pliant.execution.table import read_table
from pliant.execution.write_behind import WriteBehind
from pliant.records.parts import part_name
from pliant.records.record import Measurement, Record
from pliant.studies.fsck import examine, repair
from tiny_studies import record_files, run, tiny

WRITERS, RECORDS = 4, 20


def record(value: float = 1.5, seed: int = 0) -> Record:
    found = Measurement(metric="loss_nats", split="test", value=value, blocks=(3.0,) * 500, count=(2,) * 500)
    return Record(
        cell={"seed": seed},
        evaluation={"kind": "pretraining-loss"},
        weights="sha256:00",
        status="ok",
        measurements=(found,),
        details={},
    )


@pytest.fixture(params=list(PLACES))
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind."""
    return Store(PLACES[request.param](tmp_path / "study", monkeypatch))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The records of the tiny study on a local disk."""
    folder = tmp_path_factory.mktemp("elsewhere") / "study"
    run(tiny(), folder)
    return record_files(folder)


def test_a_record_is_read_as_it_was_written(store: Store):
    store.write("cell", "loss", record())
    assert store.read("cell", "loss")["result"]["measurements"][0]["value"] == 1.5
    assert list(store.cells()) == ["cell"]
    store.write("cell", "loss", record(2.5))
    assert store.read("cell", "loss")["result"]["measurements"][0]["value"] == 2.5


def test_how_a_cell_went_is_kept_beside_it_and_is_no_record(store: Store):
    assert store.read_run("cell") == {}
    store.write_run("cell", {"attempts": 2})
    assert store.read_run("cell") == {"attempts": 2}
    assert store.leftovers() == []


def test_records_written_by_many_at_once_are_whole(store: Store):
    """Every writer writes every record, each with a value of its own: one of them stays, and all of it."""

    def write(writer: int) -> None:
        with WriteBehind() as behind:
            for number in range(RECORDS):
                store.write(f"cell {number}", "loss", record(float(writer), number), behind)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(RECORDS):
        content = store.read(f"cell {number}", "loss")  # its checksum matches
        assert content["cell"] == {"seed": number}
        assert content["result"]["measurements"][0]["value"] in range(WRITERS)
    assert store.leftovers() == []


def test_a_damaged_record_is_refused_until_it_is_set_aside(store: Store):
    store.write("cell", "loss", record())
    path = store.path("cell", "loss")
    os.truncate(path, 100)
    with pytest.raises(StoreError, match="is not a record that can be trusted"):
        store.read("cell", "loss")
    there = store.set_aside(path)
    assert not store.has("cell", "loss")
    assert there == store.folder / "superseded/damaged/records/cell/loss.json"
    assert there.stat().st_size == 100


def test_a_write_that_never_ended_leaves_nothing_that_counts(store: Store):
    store.write("cell", "loss", record())
    left = part_name(".json").replace(f"-{os.getpid()}.", "-999999999.")
    (store.records / "cell" / left).write_text('{"half')
    assert list(store.cells()) == ["cell"]
    assert [problem.kind for problem in examine(store.folder).problems if problem.kind == "leftover"] == ["leftover"]
    assert store.sweep_leftovers() == 1
    assert store.leftovers() == []


def test_superseded_records_are_kept(store: Store):
    store.write("cell", "loss", replace(record(), weights="sha256:old"))
    shelf = store.supersede("sha256:old", ["cell"])
    assert not store.has("cell", "loss")
    assert (shelf / "cell" / "loss.json").is_file()


def test_a_study_leaves_the_records_it_leaves_elsewhere(store: Store, elsewhere: dict[str, bytes]):
    table, failures, _ = run(tiny(), store.folder)
    assert failures == []
    assert record_files(store.folder) == elsewhere
    assert examine(store.folder).problems == ()

    os.truncate(store.folder / sorted(elsewhere)[0], 100)
    (store.folder / sorted(elsewhere)[5]).unlink()
    repair(examine(store.folder))
    run(tiny(), store.folder)  # what a server shows late is measured twice, to the same bytes
    assert record_files(store.folder) == elsewhere
    table = read_table(store.folder)
    assert (table.missing, table.planned) == (0, len(elsewhere))
