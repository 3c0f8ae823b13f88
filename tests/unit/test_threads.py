"""Threads a worker: as measured where that can pay, once a machine, and never for tiny models."""

import os
from pathlib import Path

import pytest

from pliant.checkpoints.architecture import Architecture
from pliant.records.identity import Json
from pliant.records.numerics import Numerics
from pliant.studies import probing, threads
from pliant.studies.numerics import choose_numerics
from pliant.studies.probing import remembered
from pliant.studies.threads import Shape, choose_threads
from tiny_studies import tiny

MEDIUM = {"width": 128, "layers": 6, "heads": 4, "feed_forward": 336, "context": 64}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def measuring(monkeypatch: pytest.MonkeyPatch, work: dict[str, Json], cores: int = 4) -> list[Shape]:
    """Machines of `cores` cores on which `work` is measured; what was measured is told."""
    asked: list[Shape] = []

    def measured(shape: Shape, choices: list[int]) -> dict[str, Json]:
        asked.append(shape)
        return {str(choice): work[str(choice)] for choice in choices}

    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(threads, "_work", measured)
    return asked


@pytest.mark.parametrize(
    ("work", "chosen"),
    [
        ({"1": 10.0, "2": 10.9, "4": 9.0}, 1),
        ({"1": 10.0, "2": 11.1, "4": 9.0}, 2),
        ({"1": 10.0, "2": 12.0, "4": 19.0}, 4),
    ],
)
def test_more_threads_must_pay_clearly(work: dict[str, Json], chosen: int, monkeypatch: pytest.MonkeyPatch):
    measuring(monkeypatch, work)
    assert choose_threads(Shape(architecture=Architecture(**MEDIUM), vocabulary=256, streams=4)) == chosen


def test_a_study_of_one_machine_has_the_plan_of_the_one_before(monkeypatch: pytest.MonkeyPatch):
    spec = tiny({"trajectories.0.ladder.architecture": MEDIUM})
    asked = measuring(monkeypatch, {"1": 1.0, "2": 2.0, "4": 1.0})
    assert choose_numerics(spec, {}).threads == 2
    measuring(monkeypatch, {"1": 9.0, "2": 1.0, "4": 1.0})
    assert choose_numerics(spec, {}).threads == 2
    assert len(asked) == 1


def test_tiny_models_and_plans_that_are_given_are_not_measured(monkeypatch: pytest.MonkeyPatch):
    asked = measuring(monkeypatch, {})
    assert choose_numerics(tiny(), {}) == Numerics(kernel="lanes")
    given = tiny({"trajectories.0.ladder.architecture": MEDIUM, "numerics": {"threads": 3}})
    assert choose_numerics(given, {}).threads == 3
    assert asked == []


def test_workers_that_do_not_fit_into_memory_are_not_asked_for(monkeypatch: pytest.MonkeyPatch):
    measuring(monkeypatch, {"1": 10.0, "2": 1.0, "4": 1.0})
    shape = Shape(architecture=Architecture(**MEDIUM), vocabulary=256, streams=4)
    monkeypatch.setattr(threads, "free_bytes", lambda device: 2.5 * 12 * shape.parameters / 0.8)
    assert choose_threads(shape) == 2
    monkeypatch.setattr(threads, "free_bytes", lambda device: 1.5 * 12 * shape.parameters / 0.8)
    assert choose_threads(shape) == 4


def test_the_measurement_itself_runs_as_many_workers_as_there_are_streams(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "_rate", lambda step, each, workers: seen.append((each, workers)) or 1.0)
    small = Architecture(width=8, layers=1, heads=1, feed_forward=8, context=8)
    assert choose_threads(Shape(architecture=small, vocabulary=16, streams=1)) == 1
    assert seen == [(1, 1), (2, 1)] * 2


def test_work_is_counted_over_all_workers():
    shape = Shape(
        architecture=Architecture(width=8, layers=1, heads=1, feed_forward=8, context=8), vocabulary=16, streams=2
    )
    assert threads._rate(threads._step(shape), 1, 2) > 0


def test_a_probe_is_made_once_and_again_when_its_file_is_damaged(cache: Path, capsys: pytest.CaptureFixture[str]):
    answers = iter([1.0, 2.0])
    assert remembered("speed", {"of": "a"}, lambda: next(answers)) == 1.0
    assert remembered("speed", {"of": "a"}, lambda: next(answers)) == 1.0
    (file,) = (cache / "probes").iterdir()
    file.write_text("")
    assert remembered("speed", {"of": "a"}, lambda: next(answers)) == 2.0
    assert capsys.readouterr().err == ""


def test_a_long_probe_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import time

    monkeypatch.setattr(probing, "PATIENCE_SECONDS", 0.01)
    remembered("speed", {}, lambda: time.sleep(0.3))
    assert capsys.readouterr().err == "measuring speed on this machine, once ...\n"


def test_what_cannot_be_remembered_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "file"))
    asked: list[int] = []

    def measure() -> int:
        asked.append(1)
        return 7

    assert remembered("something", {}, measure) == remembered("something", {}, measure) == 7
    assert len(asked) == 2
