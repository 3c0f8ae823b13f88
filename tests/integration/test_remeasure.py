"""A ladder whose weights came out differently: the runner stops and says how to go on; no number is mixed or lost."""

import json
import shutil
from pathlib import Path

import pytest

from pliant.execution.engine import UserError
from pliant.execution.store import Store
from pliant.records.identity import canonical_json
from pliant.studies.plan import GroupPlan
from pliant.studies.runner import set_aside_changed
from tiny_studies import is_one_line, plan, record_files, run, tiny

OTHER = "sha256:" + "d" * 64


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "study"
    run(tiny(), folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "study")


def paths(folder: Path, group: GroupPlan) -> list[Path]:
    return [Store(folder).path(c.key, e.key) for c in group.cells for e in c.evaluations]


def measured_on(path: Path, weights: str) -> None:
    record = json.loads(path.read_text())
    del record["checksum"]  # as an older release would have written it
    path.write_text(canonical_json(record | {"weights": weights}) + "\n")


def test_weights_that_come_out_the_same_are_measured_on(folder: Path):
    """Weights freed, a record gone: training gives the same bits, so the old records stand."""
    before = record_files(folder)
    group = plan(tiny(), folder).groups[0]
    shutil.rmtree(group.place)
    paths(folder, group)[0].unlink()
    table, failures, _ = run(tiny(), folder)
    assert (table.missing, failures) == (0, [])
    assert record_files(folder) == before


def test_changed_weights_stop_the_runner_until_the_old_records_are_set_aside(folder: Path):
    before = record_files(folder)
    changed, same = plan(tiny(), folder).groups
    shutil.rmtree(changed.place)
    *kept, gone = paths(folder, changed)
    gone.unlink()
    for path in kept:
        measured_on(path, OTHER)
    tampered = record_files(folder)

    table, (failure,), _ = run(tiny(), folder)
    assert f"its records were measured on {OTHER[:19]}" in failure.error
    assert f"`pliant run {folder} --remeasure` sets those aside and measures again" in failure.error
    assert is_one_line(failure.error)
    assert (failure.user_error, failure.attempts, table.missing) == (True, 1, 1)
    assert record_files(folder) == tampered, "nothing is measured on other weights beside them"

    moved = set_aside_changed(plan(tiny(), folder))
    shelf = folder / "superseded" / ("d" * 16)
    assert moved == {changed.name: shelf}
    aside = {path.relative_to(shelf) for path in shelf.glob("*/*.json") if path.name != "run.json"}
    assert aside == {path.relative_to(folder / "records") for path in kept}
    assert all((shelf / name).read_bytes() == tampered[f"records/{name}"] for name in aside)
    assert all(path.is_file() for path in paths(folder, same))
    assert not any(path.exists() for path in kept)

    table, failures, _ = run(tiny(), folder)
    assert (table.missing, failures) == (0, [])
    assert record_files(folder) == before
    assert sum(1 for _ in shelf.glob("*/*.json")) > 0


def test_only_what_was_measured_on_other_weights_moves(folder: Path):
    before = record_files(folder)
    group = plan(tiny(), folder).groups[1]
    first, *others = [[Store(folder).path(c.key, e.key) for e in c.evaluations] for c in group.cells]
    for path in first:
        measured_on(path, OTHER)
    set_aside_changed(plan(tiny(), folder))
    assert not any(path.exists() for path in first)
    assert all(path.exists() for cell in others for path in cell)
    run(tiny(), folder)
    assert record_files(folder) == before


def test_setting_aside_twice_keeps_both_generations(folder: Path):
    group = plan(tiny(), folder).groups[0]
    for _ in range(2):
        for path in paths(folder, group):
            measured_on(path, OTHER)
        set_aside_changed(plan(tiny(), folder))
        run(tiny(), folder)
    shelf = folder / "superseded" / ("d" * 16)
    assert len(list(shelf.iterdir())) == 2 * len(group.cells)


def test_nothing_to_set_aside_is_said(folder: Path):
    with pytest.raises(UserError, match="nothing to re-measure"):
        set_aside_changed(plan(tiny(), folder))
