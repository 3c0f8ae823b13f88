"""The study folder as a database: whole records or none, errors that name the file."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pliant.execution import writing
from pliant.execution.engine import UserError
from pliant.execution.store import Store, StoreError, remove_folder, sweep
from pliant.execution.writing import naming_what_stops_writing, write_atomically
from pliant.records.identity import SCHEMA_VERSION, canonical_json
from pliant.records.parts import part_name, writer_of
from pliant.records.record import Measurement, Record, is_whole


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
    read = store.read("cell", "loss")
    assert read.pop("checksum").startswith("sha256:")
    assert read == json.loads(json.dumps(record().to_json()))
    assert list(store.cells()) == ["cell"]


def test_the_bytes_of_a_record_are_its_canonical_json(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record(value=float("nan")))
    text = store.path("cell", "loss").read_text()
    checksum = re.search('"checksum":"sha256:([0-9a-f]{64})",', text)
    assert checksum is not None
    assert text.startswith(f'{{"cell":{{"seed":0}},{checksum[0]}"evaluation":{{"kind":"pretraining-loss"}},')
    assert '"value":"nan"' in text
    assert text.endswith("}\n")
    content = json.loads(text)
    assert text == json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
    without = {name: value for name, value in content.items() if name != "checksum"}
    plain = json.dumps(without, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(plain.encode()).hexdigest() == checksum[1]


CHANGES = {
    "a digit": ("1.5", "1.6"),
    "the weights": ("sha256:00", "sha256:01"),
    "the identity": ('"seed":0', '"seed":1'),
    "a space": (",", ", "),
    "a field more": ('"status":"ok"', '"status":"ok","tokens":5'),
    "the checksum": ('"checksum":"sha256:', '"checksum":"sha256:0'),
    "cut short": ("}]", ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_that_was_changed_is_never_read(change: str, tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    path = store.path("cell", "loss")
    text = path.read_text()
    assert CHANGES[change][0] in text
    path.write_text(text.replace(*CHANGES[change]))
    with pytest.raises(StoreError, match=r"changed after it was written|cut short"):
        store.check("cell", "loss")
    with pytest.raises(StoreError, match=r"changed after it was written|cut short") as caught:
        store.read("cell", "loss")
    assert f"{path} is not a record that can be trusted" in str(caught.value)
    assert f"`pliant fsck {tmp_path} --repair`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nested_checksum_is_no_checksum_of_the_record(tmp_path: Path):
    store = Store(tmp_path)
    nested = replace(record(), cell={"checksum": "sha256:00", "seed": 0}, details={"checksum": "sha256:11"})
    store.write("cell", "loss", nested)
    assert store.read("cell", "loss")["cell"]["checksum"] == "sha256:00"
    store.check("cell", "loss")


def test_a_record_of_an_older_release_has_no_checksum_and_is_read(tmp_path: Path):
    store = Store(tmp_path)
    write_atomically(store.path("cell", "loss"), canonical_json(record().to_json()))
    assert store.read("cell", "loss")["weights"] == "sha256:00"
    assert not is_whole(store.path("cell", "loss").read_bytes())
    store.check("cell", "loss")
    store.write("cell", "loss", record())
    assert is_whole(store.path("cell", "loss").read_bytes())


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


NOT = "is not a record that can be trusted"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", NOT),
        ("{", NOT),
        ("[]", NOT),
        ('"text"', NOT),
        ("{}", NOT),
        ('{"schema":1}', NOT),
        (
            '{"schema":"one","weights":"","status":"ok","result":{"measurements":[]}}',
            "is not a record that can be trusted",
        ),
        ('{"schema":1,"weights":"","status":"ok","result":[]}', NOT),
        (b"\xff\xfe", NOT),
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
    assert "pliant fsck" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_a_newer_release_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    store.write("cell", "loss", record())
    path = store.path("cell", "loss")
    path.write_text(canonical_json(record().to_json() | {"schema": SCHEMA_VERSION + 1}))
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


def test_a_full_disk_and_a_lost_permission_are_one_line_naming_the_file_and_other_errors_pass(tmp_path: Path):
    with pytest.raises(UserError, match=r"no room left on the disk while writing .*records") as caught:  # noqa: SIM117
        with naming_what_stops_writing(tmp_path / "records"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="/that/file"), naming_what_stops_writing(tmp_path):
        raise OSError(errno.EDQUOT, "quota", "/that/file")
    with pytest.raises(UserError, match=r"no permission while writing /that/file; make the folder writable"):  # noqa: SIM117
        with naming_what_stops_writing(tmp_path):
            raise PermissionError(errno.EACCES, "no", "/that/file")
    with pytest.raises(FileNotFoundError), naming_what_stops_writing(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "none")
    with pytest.raises(RuntimeError), naming_what_stops_writing(tmp_path):
        raise RuntimeError("something else")


def test_what_need_not_last_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    store = Store(tmp_path)
    store.write_run("cell", {"error": ""})
    assert (store.read_run("cell"), waited) == ({"error": ""}, [])
    store.write("cell", "loss", record())
    assert len(waited) == 1


@pytest.mark.parametrize("answer", [errno.ESTALE, errno.EIO, errno.ENOENT])
def test_an_answer_that_a_file_server_loses_is_asked_for_again(
    answer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writing, "PAUSES_SECONDS", (0.0, 0.0))
    failing = iter([answer, answer])

    def stale(old: str, new: str, real: Callable[..., None] = os.replace) -> None:
        if (number := next(failing, None)) is not None:
            raise OSError(number, os.strerror(number))
        real(old, new)

    monkeypatch.setattr(os, "replace", stale)
    write_atomically(tmp_path / "a.json", "{}")
    assert (tmp_path / "a.json").read_text() == "{}"
    assert parts(tmp_path) == []


def test_what_a_living_process_writes_is_not_swept_and_what_a_dead_one_left_is(tmp_path: Path):
    mine, records = part_name(".json"), tmp_path / "records" / "cell"
    dead = mine.replace(f"-{os.getpid()}.", "-999999999.")
    elsewhere = re.sub(r"-[0-9a-f]{8}-", "-00000000-", mine)
    records.mkdir(parents=True)
    for name in (mine, dead, elsewhere, ".part-0a.json"):
        (records / name).write_text("{")
    writers = [writer_of(name) for name in (mine, dead, elsewhere, ".part-0a.json")]
    assert writers == ["here", "gone", "elsewhere", "gone"]
    assert Store(tmp_path).sweep_leftovers() == 2
    assert sorted(path.name for path in records.iterdir()) == sorted([mine, elsewhere])


def test_a_part_that_vanishes_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "PAUSES_SECONDS", (0.0,))
    swept: list[str] = []

    def sweeping(number: int, real: Callable[[int], None] = os.fsync) -> None:
        real(number)
        if not swept:
            swept.extend(path.name for path in parts(tmp_path))
            sweep(parts(tmp_path))

    monkeypatch.setattr(os, "fsync", sweeping)
    write_atomically(tmp_path / "a.json", "{}")
    assert (len(swept), (tmp_path / "a.json").read_text()) == (1, "{}")
