"""`pliant fsck` finds what is wrong in a folder, moves it aside, and the next run measures it again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from old_study import copy_of_schema_1, records
from pliant.cli import app
from pliant.execution.compacted import COMPACTED
from pliant.execution.compaction import compact
from pliant.execution.fsck import survey
from pliant.execution.store import Store
from pliant.studies import settling
from pliant.studies.fsck import examine, repair
from pliant.studies.study_file import read_study
from tiny_studies import run, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of_schema_1(tmp_path)


def fsck(folder: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["fsck", str(folder), *options])
    return done.exit_code, done.output


def member(folder: Path, name: str = "tokens-512") -> Path:
    (place,) = folder.glob(f"artifacts/main-*/seed-1/{name}")
    return place


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def misplace(folder: Path) -> None:
    first, second = records(folder)[:2]
    shutil.copy(first, second)


def snapshot(folder: Path) -> None:
    """The trunk's state of an older release, as a snapshot, of which the disk has lost the end."""
    place = folder / "artifacts/snapshots/0123/step-000000006"
    shutil.copytree(member(folder, "trunk-tokens-384"), place)
    (place / "state.json").write_text('{"step": 6}')
    os.truncate(place / "optimizer.safetensors", 1000)


def link(folder: Path) -> None:
    record = records(folder)[0]
    shutil.move(record, folder.parent / "outside.json")
    record.symlink_to(folder.parent / "outside.json")


FAULTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "an empty record": (lambda f: records(f)[0].write_text(""), "damaged record", "it is empty"),
    "half a record": (lambda f: os.truncate(records(f)[0], 200), "damaged record", "cut short"),
    "bytes": (lambda f: records(f)[0].write_bytes(b"\xff\xfe"), "damaged record", "can't decode byte"),
    "a record of another cell": (misplace, "misplaced record", "what is in it belongs at records/"),
    "an empty run.json": (
        lambda f: (records(f)[0].parent / "run.json").write_text(""),
        "half-written run.json",
        "how the cell went is lost; its records are not",
    ),
    "a foreign file": (lambda f: (f / "records/notes.txt").write_text("mine"), "unknown file", "no file here"),
    "half a plan": (lambda f: os.truncate(f / "plan.json", 500), "unreadable", "writes it anew"),
    "no plan in it": (lambda f: (f / "plan.json").write_text("[]"), "unreadable", "writes it anew"),
    "half a table": (lambda f: os.truncate(f / "results.parquet", 500), "unreadable", "writes it anew"),
    "half a study file": (lambda f: os.truncate(f / "study.yaml", 30), "unreadable", "the study was made from"),
    "half a page": (lambda f: (f / "report.html").write_text("<html>"), "unreadable", "cut short"),
    "half a listing": (lambda f: (f / "revisions.json").write_text("{"), "unreadable", "today's commits"),
    "half a validation": (lambda f: (f / "validation.json").write_text("{"), "unreadable", "what it decided"),
    "half the weights": (lambda f: os.truncate(member(f) / "model.safetensors", 900), "damaged weights", "cut short"),
    "a bit of the weights": (lambda f: flip(member(f) / "model.safetensors", -5), "damaged weights", "weights are not"),
    "no config": (lambda f: (member(f) / "config.json").unlink(), "damaged weights", "no config.json"),
    "no facts": (lambda f: (member(f) / "pliant.json").unlink(), "damaged weights", "names its weights"),
    "half a state": (
        lambda f: os.truncate(member(f, "trunk-tokens-384") / "optimizer.safetensors", 900),
        "damaged state",
        "optimizer.safetensors is damaged",
    ),
    "half a snapshot": (snapshot, "damaged snapshot", "goes on from further back"),
    "a leftover": (lambda f: (f / "records/.part-1").mkdir() or (f / ".part-2").write_text(""), "leftover", "killed"),
    "a link out of the study": (link, "link", "leads out of the study, to "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_moved_aside_and_can_be_moved_back(fault: str, folder: Path):
    plant, kind, says = FAULTS[fault]
    plant(folder)
    (problem,) = examine(folder).problems
    assert problem.kind == kind
    assert says in problem.what
    assert "\n" not in problem.what
    bad = folder / problem.path
    content = bad.read_bytes() if bad.is_file() else b""

    mended = repair(examine(folder))
    assert mended.problems == ()
    assert examine(folder).problems == ()
    if problem.remedy == "sweep":
        assert (mended.swept, mended.moved) == (1, {})
        return
    assert mended.moved == {problem.path: f"superseded/damaged/{problem.path}"}
    assert mended.missing == (kind in ("damaged record", "misplaced record", "link"))
    os.replace(folder / "superseded/damaged" / problem.path, bad)
    assert (bad.read_bytes() if bad.is_file() else b"") == content
    assert examine(folder).problems == (problem,)


def test_what_is_damaged_is_measured_again_by_the_next_run(folder: Path):
    whole = records(folder)
    os.truncate(whole[0], 100)
    os.truncate(whole[20], 100)
    shutil.rmtree(member(folder, "trunk-tokens-384"))  # training it again needs no more than what is asked for
    os.truncate(member(folder) / "model.safetensors", 900)
    assert "2 of 48 records" in repair(examine(folder)).next
    table, failures, _ = run(read_study(folder / "study.yaml"), folder)
    assert (table.missing, failures) == (0, [])
    found = examine(folder)
    assert (found.problems, found.records, found.with_checksum) == ((), 48, 2)


def test_records_of_other_weights_are_told_and_left_to_the_user(folder: Path):
    """A whole record, of weights that nobody has: what a folder looks like whose weights were trained again."""
    record = records(folder)[0]
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"weights": "sha256:" + "0" * 64}))
    (problem,) = examine(folder).problems
    assert (problem.kind, problem.path, problem.remedy) == ("other weights", str(record.relative_to(folder)), "hand")
    assert "--remeasure" in problem.what
    assert repair(examine(folder)).problems == (problem,)


def test_every_record_is_traced_to_the_weights_it_was_measured_on(folder: Path):
    origins = survey(Store(folder)).origins
    there = {
        json.loads(path.read_text())["weights"] for path in folder.glob("artifacts/main-*/seed-*/tokens-*/pliant.json")
    }
    assert len(origins) == 4  # two budgets, two seeds
    assert {weights for measured in origins.values() for weights in measured} == there


def test_a_record_that_nobody_asks_for_is_no_problem(folder: Path):
    plan = json.loads((folder / "plan.json").read_text())
    plan["cells"] = plan["cells"][1:]
    (folder / "plan.json").write_text(json.dumps(plan))
    found = examine(folder)
    assert found.problems == ()
    assert found.orphans == found.records - found.planned > 0


def test_the_command_lists_repairs_and_says_what_comes_next(folder: Path):
    record = records(folder)[0]
    os.truncate(record, 200)
    (folder / ".part-1.json").write_text("{")
    place = record.relative_to(folder)
    code, told = fsck(folder)
    assert code == 1
    assert f"damaged record: {place}: cut short" in told
    assert "leftover: .part-1.json: " in told
    assert f"mend them: pliant fsck {folder} --repair" in told
    assert record.is_file()

    code, told = fsck(folder, "--repair")
    assert code == 0
    assert f"moved: {place} -> superseded/damaged/{place}" in told
    assert "deleted: 1 that were never finished" in told
    assert f"{folder}: no problems; 47 records are whole" in told
    assert f"next: `pliant run {folder}` measures 1 of 48 records" in told
    assert not record.exists()

    code, told = fsck(folder, "--json")
    content = json.loads(told)
    assert (code, content["problems"], content["missing"], content["records"]) == (0, [], 1, 47)


def test_a_study_file_that_is_lost_is_made_anew_from_the_users_and_the_records(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settling, "choose_numerics", None)  # whoever calls it, fails
    settled = (folder / "study.yaml").read_text()
    asked = yaml.safe_load(settled)
    numerics = asked.pop("numerics")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked))
    (folder / "study.yaml").write_text(settled[:100] + "\n[")
    code, told = fsck(folder)
    assert (code, "unreadable: study.yaml: is not YAML" in told) == (1, True)
    code, told = fsck(folder, "--repair")
    assert code == 0
    assert f"next: every record is there: `pliant run STUDY.yaml --out {folder}`, with the file" in told
    table, failures, started = run(read_study(tmp_path / "mine.yaml"), folder)
    assert (table.missing, failures, started) == (0, [], [])
    known = yaml.safe_load((folder / "study.yaml").read_text())["numerics"]
    assert known == numerics | dict.fromkeys(known.keys() - numerics.keys())


def test_two_repairs_of_one_place_keep_both(folder: Path):
    record = records(folder)[0]
    for content in ("first", "second"):
        record.write_text(content)
        assert repair(examine(folder)).problems == ()
    shelf = folder / "superseded/damaged" / record.relative_to(folder).parent
    assert sorted(path.read_text() for path in shelf.iterdir()) == ["first", "second"]


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path):
    done = CliRunner().invoke(app, ["fsck", str(tmp_path)])
    assert "is not a study folder" in str(done.exception)


def test_a_compacted_study_is_looked_through_too(tmp_path: Path):
    folder = tmp_path / "study"
    run(tiny(), folder)
    before = examine(folder)
    compact(folder)
    after = examine(folder)
    assert after.problems == ()
    assert (after.records, after.missing, after.with_checksum) == (before.records, 0, before.with_checksum)
    (folder / COMPACTED).write_bytes((folder / COMPACTED).read_bytes()[:-100])
    (problem,) = examine(folder).problems
    assert (problem.kind, problem.path, problem.remedy) == ("damaged record", COMPACTED, "hand")
