"""The study folder as a database: whole records or none, errors that name the file."""

import errno
import json
import os
from pathlib import Path

import pytest

from pliant.execution.engine import UserError
from pliant.execution.store import Store, StoreError, naming_a_full_disk, remove_folder, write_atomically
from pliant.records.identity import SCHEMA_VERSION
from pliant.records.record import Measurement, Record


def record(weights: str = "sha256:00", value: float = 1.5) -> Record:
    return Record(
        cell={"seed": 0},
        evaluation={"kind": "pretraining-loss"},
        weights=weights,
        status="ok",
        measurements=(Measurement(metric="loss_nats", split="test", value=value, blocks=(3.0,), count=(2,)),),
        details={},
    )


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob(".part-*"))


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    assert store.has("cell", "loss")
    assert not store.has("cell", "other")
    assert store.read("cell", "loss") == json.loads(json.dumps(record().to_json()))
    assert list(store.cells()) == ["cell"]


def test_the_bytes_of_a_record_are_its_canonical_json(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record(value=float("nan")))
    text = store.path("cell", "loss").read_text()
    assert text.startswith('{"cell":{"seed":0},"evaluation":{"kind":"pretraining-loss"},')
    assert '"value":"nan"' in text
    assert text.endswith("}\n")


def test_others_may_read_a_record(tmp_path: Path):
    write_atomically(tmp_path / "a.json", "{}")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file_and_no_part_of_the_new(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "file.json"
    write_atomically(file, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert parts(tmp_path) == []


def test_ctrl_c_in_a_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.json", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not a record"),
        ("{", "is not a record"),
        ("[]", "is not a record"),
        ('"text"', "is not a record"),
        ("{}", "is not a record"),
        ('{"schema":1}', "is not a record"),
        ('{"schema":"one","weights":"","status":"ok","result":{"measurements":[]}}', "is not a record"),
        ('{"schema":1,"weights":"","status":"ok","result":[]}', "is not a record"),
        (b"\xff\xfe", "is not a record"),
    ],
)
def test_an_unreadable_record_is_named(content: str | bytes, says: str, tmp_path: Path):
    store = Store(tmp_path)
    path = store.path("cell", "loss")
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError, match=says) as caught:
        store.read("cell", "loss")
    assert str(path) in str(caught.value)
    assert "delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_a_newer_release_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    path = store.path("cell", "loss")
    path.write_text(path.read_text().replace(f'"schema":{SCHEMA_VERSION}', f'"schema":{SCHEMA_VERSION + 1}'))
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}.*upgrade pliant") as caught:
        store.read("cell", "loss")
    assert str(path) in str(caught.value)


def test_superseding_keeps_every_generation(tmp_path: Path):
    store = Store(tmp_path)
    old = "sha256:" + "a" * 64
    for value in (1.0, 2.0, 3.0):
        store.write("cell", "loss", record(old, value))
        shelf = store.supersede(old, ["cell", "a cell without records"])
        assert not store.has("cell", "loss")
    assert shelf == tmp_path / "superseded" / ("a" * 16)
    kept = [json.loads(path.read_text()) for path in shelf.glob("*/loss.json")]
    assert sorted(one["result"]["measurements"][0]["value"] for one in kept) == [1.0, 2.0, 3.0]


def test_sweeping_takes_the_unfinished_and_nothing_else(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    (tmp_path / "records" / "cell" / ".part-1.json").write_text("{")
    (tmp_path / ".part-plan.json").write_text("{")
    for place in ("artifacts/main/seed-1", "artifacts/snapshots/0a"):
        (tmp_path / place / ".part-x").mkdir(parents=True)
        (tmp_path / place / ".part-x" / "model.safetensors").write_text("half")
        (tmp_path / place / "whole").mkdir()
    assert store.sweep_leftovers() == 4
    assert parts(tmp_path) == []
    assert store.has("cell", "loss")
    assert (tmp_path / "artifacts/main/seed-1/whole").is_dir()
    assert store.sweep_leftovers() == 0


def test_a_part_is_no_record(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    (tmp_path / "records" / "cell" / ".part-1.json").write_text("{")
    assert [path.name for path in (tmp_path / "records" / "cell").glob("[!.]*")] == ["loss.json"]


def test_a_folder_whose_removal_was_cut_short_is_gone_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "artifacts" / "tokens-8"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(folder)
    monkeypatch.undo()
    assert not folder.exists()
    assert Store(tmp_path).sweep_leftovers() == 1


def test_how_a_cell_went_is_kept_beside_its_records(tmp_path: Path):
    store = Store(tmp_path)
    assert store.read_run("cell") == {}
    store.write_run("cell", {"attempts": 2, "error": ""})
    assert store.read_run("cell")["attempts"] == 2
    (tmp_path / "records" / "cell" / "run.json").write_text("{")
    assert store.read_run("cell") == {}


def test_a_full_disk_is_one_line_naming_the_file_and_other_errors_pass(tmp_path: Path):
    with pytest.raises(UserError, match=r"no room left on the disk while writing .*records") as caught:  # noqa: SIM117
        with naming_a_full_disk(tmp_path / "records"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="/that/file"), naming_a_full_disk(tmp_path):
        raise OSError(errno.EDQUOT, "quota", "/that/file")
    with pytest.raises(PermissionError), naming_a_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(RuntimeError), naming_a_full_disk(tmp_path):
        raise RuntimeError("something else")


def test_what_need_not_last_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    store = Store(tmp_path)
    store.write_run("cell", {"error": ""})
    assert (store.read_run("cell"), waited) == ({"error": ""}, [])
    store.write("cell", "loss", record())
    assert len(waited) == 1
