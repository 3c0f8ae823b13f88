"""Studies on the revisions of a Hub repository, served from loopback to the real client."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

import tiny
from loopback_hub import Fault, LoopbackHub
from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.hub.local import user_cache
from pliant.execution.engine import Engine, Event
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.table import Table
from pliant.studies.runner import run_studies
from pliant.studies.spec import SpecError, StudySpec
from theirs import save_checkpoint
from tiny_studies import is_one_line, of_checkpoints, record_files

REPO = "tiny/run"
SIZE = 7136
"""Bytes of the weights of one checkpoint."""
NOISE = {"noise": {"scaling": "relative", "strengths": [0.1], "draws": 1}}
CELLS = 2  # of a checkpoint: the base, and one block of noise


def name(number: int) -> str:
    return f"step{1000 * number}-tokens{4 * number}B"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty checkpoints in folders 1, 2, ..., 40."""
    root = tmp_path_factory.mktemp("saved")
    for number in range(1, 41):
        save_checkpoint(root / f"{number}", seed=number)
    return root


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's waits between its own attempts are skipped."""
    no_wait = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr("huggingface_hub.file_download.time", no_wait)
    monkeypatch.setattr("huggingface_hub.utils._http.time", no_wait)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)


def publish(hub: LoopbackHub, saved: Path, count: int, repo: str = REPO) -> int:
    """`count` revisions; the bytes of the weights of one."""
    for number in range(1, count + 1):
        hub.add(repo, name(number), folder=saved / f"{number}")
    return (saved / "1" / "model.safetensors").stat().st_size


def study(
    repo: str | list[dict[str, Any]] = REPO, *more: dict[str, Any], modifications: Any = (NOISE,), **changes: Any
) -> StudySpec:
    trajectories = [{"name": "theirs", "checkpoints": repo}, *more]
    return of_checkpoints([], trajectories=trajectories, modifications=modifications, **changes)


def weight_bytes(home: Path) -> int:
    """Bytes of weights in pliant's cache by the Hub's naming: files under LFS are stored by their SHA-256."""
    total = 0
    for blob in (home / "pliant" / "hub").glob("models--*/blobs/*"):
        try:
            total += blob.lstat().st_size if len(blob.name.split(".")[0]) == 64 and not blob.is_symlink() else 0
        except FileNotFoundError:  # gone since it was listed
            continue
    return total


@contextmanager
def watched(home: Path) -> Iterator[list[int]]:
    """What the weights took, looked at all the time."""
    seen, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.001):
            seen.append(weight_bytes(home))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def run(
    spec: StudySpec, folder: Path, engine: Engine | None = None, *, cap: int | None = None, observe: Any = None
) -> tuple[Table, dict[str, str]]:
    """Run what is missing; the table, and the errors of the tasks that failed by their labels."""
    tables, failures = run_studies(
        [(spec, folder)],
        engine=engine or SerialEngine(),
        observe=lambda _: observe or (lambda event: None),
        cache_cap=cap,
    )
    return tables[0], {failure.label: failure.error for failure in failures}


def measured(table: Table) -> set[str]:
    return {row["checkpoint"] for row in table.rows}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fetched(hub: LoopbackHub, number: int = 0) -> int:
    commit = hub.repos["models", REPO].branches[name(number)] if number else ""
    return sum(
        n
        for request, n in hub.requests.items()
        if request.startswith("GET") and request.endswith(f"{commit}/model.safetensors")
    )


# forty revisions within a cap


def test_forty_revisions_never_take_more_than_the_cap(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    one = publish(hub, saved, 40)
    snapshot_download(REPO, revision=name(7))
    users = files(user_cache())
    bytes_before = hub.bytes_served
    with watched(tmp_path) as seen:
        table, failures = run(study(), tmp_path / "study", cap=int(2.5 * one))
    assert (failures, table.missing, table.failed) == ({}, 0, ())
    assert measured(table) == {name(number) for number in range(1, 41)}
    assert max(seen) == one  # this engine does one thing after another
    assert weight_bytes(tmp_path) == 0
    assert files(user_cache()) == users
    assert fetched(hub, 7) == 1  # by the user
    assert fetched(hub, 8) == 1
    assert hub.bytes_served - bytes_before < 41 * one + 40 * 20_000
    commits = hub.repos["models", REPO].branches
    assert {(row["checkpoint"], row["commit"]) for row in table.rows} == set(commits.items())
    _, failures = run(study(), tmp_path / "study", cap=int(2.5 * one))
    assert fetched(hub, 8) == 1


@pytest.mark.slow
def test_worker_processes_keep_within_the_cap_and_write_the_same_records(
    hub: LoopbackHub, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = publish(hub, saved, 40)
    for key, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    with watched(tmp_path) as seen:
        table, failures = run(study(), tmp_path / "local", LocalEngine(workers=2), cap=int(2.5 * one))
    assert (failures, table.missing) == ({}, 0)
    assert 0 < max(seen) <= 2 * one
    assert weight_bytes(tmp_path) == 0
    run(study(), tmp_path / "serial")
    assert record_files(tmp_path / "local") == record_files(tmp_path / "serial")


def test_a_checkpoint_larger_than_the_cap_is_one_line_before_anything_is_fetched(
    hub: LoopbackHub, saved: Path, tmp_path: Path
) -> None:
    one = publish(hub, saved, 3)
    with pytest.raises(SpecError, match=r"--cache-cap leaves 0.00 GB and") as raised:
        run(study(), tmp_path / "study", cap=one - 1)
    assert is_one_line(str(raised.value))
    assert "give a larger --cache-cap" in str(raised.value)
    assert not list((tmp_path / "pliant").rglob("*.safetensors"))
    table, failures = run(study(), tmp_path / "study", cap=one)
    assert (failures, table.missing) == ({}, 0)


# stopped, moved, offline


class Stopped(BaseException):
    """What ends a run from outside, as Ctrl-C does."""


def test_a_study_stopped_midway_goes_on_to_the_same_records(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    one, whole = publish(hub, saved, 6), tmp_path / "whole"
    run(study(), whole)

    def stop(event: Event) -> None:
        if event.kind == "started" and event.key.startswith("group") and event.key.endswith(hub_folder(hub, 3)):
            raise Stopped

    with pytest.raises(Stopped):
        run(study(), tmp_path / "study", observe=stop)
    assert 0 < len(record_files(tmp_path / "study")) < len(record_files(whole))
    assert 0 < weight_bytes(tmp_path) <= 2 * one
    before = fetched(hub, 3), fetched(hub, 1)
    table, failures = run(study(), tmp_path / "study", cap=2 * one)
    assert (failures, table.missing) == ({}, 0)
    assert record_files(tmp_path / "study") == record_files(whole)
    assert (fetched(hub, 3), fetched(hub, 1)) == before  # what was there is used, what is measured is not fetched
    assert weight_bytes(tmp_path) == 0


def hub_folder(hub: LoopbackHub, number: int) -> str:
    return hub.repos["models", REPO].branches[name(number)]


def test_a_study_keeps_its_commits_when_a_branch_moves(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    publish(hub, saved, 3)
    run(study(modifications=[]), tmp_path / "old")
    before, old = record_files(tmp_path / "old"), hub_folder(hub, 2)
    hub.add(REPO, name(2), folder=saved / "9")
    table, _ = run(study(), tmp_path / "old")
    assert before.items() <= record_files(tmp_path / "old").items()
    assert {row["commit"] for row in table.rows if row["checkpoint"] == name(2)} == {old}
    run(study(), tmp_path / "new")
    again = record_files(tmp_path / "old").keys() & record_files(tmp_path / "new").keys()
    assert len(again) == 2 * len(record_files(tmp_path / "old")) // 3  # all but those of the one that moved
    pinned = json.loads((tmp_path / "new" / "revisions.json").read_text())[REPO]["revisions"]
    assert {r["revision"]: r["commit"] for r in pinned} == hub.repos["models", REPO].branches


def test_offline_a_study_goes_on_from_the_users_cache(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    publish(hub, saved, 3)
    run(study(modifications=[]), tmp_path / "study")
    for number in (1, 2, 3):
        snapshot_download(REPO, revision=name(number))
    users = files(user_cache())
    hub.__exit__()
    table, failures = run(study(), tmp_path / "study")
    assert (failures, table.missing) == ({}, 0)
    fresh, failures = run(study(), tmp_path / "fresh")
    assert (failures, fresh.missing) == ({}, 0)
    assert record_files(tmp_path / "fresh") == record_files(tmp_path / "study")
    assert files(user_cache()) == users


# one that fails fails alone


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=404), "gone from|answered 404"),
        (Fault(status=403), "answered 403 .no access.; log in with"),
        (Fault(cut=100), "no whole answer from"),
        (Fault(content=b"x" * 50), "Consistency check failed"),
        (Fault(content=b"x" * SIZE), "is not what was published"),
    ],
    ids=["gone", "forbidden", "cut", "shorter", "other content"],
)
def test_a_revision_that_cannot_be_fetched_fails_alone(
    hub: LoopbackHub, saved: Path, tmp_path: Path, impatient: None, fault: Fault, says: str
) -> None:
    one = publish(hub, saved, 4)
    hub.faults[f"{hub_folder(hub, 2)}/model.safetensors"] = fault
    with watched(tmp_path) as seen:
        table, failures = run(study(), tmp_path / "study", cap=2 * one)
    assert measured(table) == {name(number) for number in (1, 3, 4)}
    assert set(failures) == {f"fetch {REPO}@{name(2)}", f"measure theirs, {name(2)}"}
    assert is_one_line(failures[f"fetch {REPO}@{name(2)}"])
    assert re.search(says, failures[f"fetch {REPO}@{name(2)}"]), failures
    assert max(seen) <= 2 * one
    assert weight_bytes(tmp_path) == 0
    hub.faults.clear()
    table, failures = run(study(), tmp_path / "study", cap=2 * one)
    assert (failures, table.missing) == ({}, 0)


def test_a_gated_repository_among_others_is_one_line_before_anything_is_fetched(
    hub: LoopbackHub, saved: Path, tmp_path: Path
) -> None:
    publish(hub, saved, 2)
    hub.add("tiny/gated", name(3), folder=saved / "3")
    hub.gated.add("tiny/gated")
    given = [{"path": f"{repo}@{name(number)}"} for repo, number in ((REPO, 1), ("tiny/gated", 3), (REPO, 2))]
    with pytest.raises(CheckpointError, match=r"tiny/gated is gated; accept its terms at .* then log in") as raised:
        run(study(given), tmp_path / "study")
    assert is_one_line(str(raised.value))
    assert not list((tmp_path / "pliant").rglob("*.safetensors"))


def test_another_architecture_midway_is_measured_as_what_it_is(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    publish(hub, saved, 3)
    other = tmp_path / "other"
    shutil.copytree(saved / "2", other)
    save_weights(build_model(tiny.architecture(width=24, context=16), 64, 5), other)
    hub.add(REPO, name(2), folder=other)
    table, failures = run(study(), tmp_path / "study")
    assert (failures, table.missing) == ({}, 0)
    alone, _ = run(study(f"{REPO}@{name(2)}"), tmp_path / "alone")
    assert {row["value"] for row in alone.rows} <= {row["value"] for row in table.rows if row["checkpoint"] == name(2)}


def test_another_tokenizer_midway_fails_alone(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    publish(hub, saved, 3)
    other = tmp_path / "other"
    shutil.copytree(saved / "2", other)
    known = json.loads((other / "tokenizer.json").read_text())
    vocabulary = known["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (other / "tokenizer.json").write_text(json.dumps(known))
    hub.add(REPO, name(2), folder=other)
    table, failures = run(study(), tmp_path / "study")
    assert measured(table) == {name(1), name(3)}
    (error,) = failures.values()
    assert "comes with another tokenizer than" in error
    assert is_one_line(error)
    table, failures = run(study(tokenizer="markov"), tmp_path / "named")
    assert (failures, table.missing) == ({}, 0)


# several at once


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("modification", [NOISE, {"interpolate": {"with": "last", "weights": [0.5]}}])
def test_merges_and_lines_find_room_for_several(
    hub: LoopbackHub, saved: Path, tmp_path: Path, window: int, modification: dict[str, Any]
) -> None:
    publish(hub, saved, 6)
    merged = {"name": "merged", "merge": {"of": "theirs", "window": window}}
    table, failures = run(study(REPO, merged, modifications=[modification]), tmp_path / "study")
    assert (failures, table.missing) == ({}, 0)
    assert len({row["checkpoint"] for row in table.rows if row["trajectory"] == "merged"}) == 7 - window
    assert weight_bytes(tmp_path) == 0


def test_a_merge_takes_no_more_than_its_window_and_no_less(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    one = publish(hub, saved, 6)
    spec = study(REPO, {"name": "merged", "merge": {"of": "theirs", "window": 3}})
    with pytest.raises(SpecError, match=r"merged or interpolated take .* at once; give a larger --cache-cap") as raised:
        run(spec, tmp_path / "study", cap=3 * one - 1)
    assert is_one_line(str(raised.value))
    assert not list((tmp_path / "pliant").rglob("*.safetensors"))
    with watched(tmp_path) as seen:
        table, failures = run(spec, tmp_path / "study", cap=3 * one)
    assert (failures, table.missing) == ({}, 0)
    assert max(seen) == 3 * one
