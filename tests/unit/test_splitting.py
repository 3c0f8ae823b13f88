"""Groups in parts: all cells in exactly one part, what belongs together together, and the same bytes come out."""

from dataclasses import replace
from pathlib import Path

import pytest

from pliant.execution.local import SerialEngine
from pliant.modifications.finetune import FineTune
from pliant.records.numerics import Numerics
from pliant.studies import splitting
from pliant.studies.group import GroupJob
from pliant.studies.schedule import Schedule, schedule
from pliant.studies.spec import StudySpec
from pliant.studies.splitting import split
from pliant.studies.variants import inseparable
from tiny_studies import plan, record_files, run, tiny

WISE = {"task": "skip", "learning_rates": [0.01], "steps": 4, "batch": 4, "regularise": {"wise_ft": [0.25, 0.5]}}


def study() -> StudySpec:
    """Noise, two sweeps of rates that are trained side by side, and three cells that share a training."""
    return tiny(
        {
            "trajectories.0.ladder.budgets": [512],
            "modifications.0.noise.strengths": [0.01, 0.02, 0.05],
            "modifications.1.fine_tune.seeds": [1, 2],
        }
    )


def parts_of(todo: Schedule) -> list[list[str]]:
    return [[cell.key for cell in t.payload.group.cells] for t in todo.tasks if isinstance(t.payload, GroupJob)]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of any length are worth splitting."""
    monkeypatch.setattr(splitting, "LEAST_SECONDS", 1e-9)
    monkeypatch.setattr(splitting, "LOADS", 0)


def test_short_groups_and_one_worker_are_left_alone(tmp_path: Path):
    whole = schedule([plan(study(), tmp_path / "study")])
    assert split(whole, 1).tasks == whole.tasks
    assert split(whole, 64).tasks == whole.tasks, "a second of work is not worth opening a checkpoint twice"
    assert split(whole, 64).lanes == 64


def test_each_cell_is_in_one_part_and_parts_are_of_about_a_third_of_a_workers_share(tmp_path: Path, at_once: None):
    whole = schedule([plan(study(), tmp_path / "study")])
    todo = split(whole, 2)
    (cells,) = parts_of(whole)
    parts = parts_of(todo)
    assert len(parts) > 2
    assert sorted(cell for part in parts for cell in part) == sorted(cells)
    assert len({task.key for task in todo.tasks}) == len(todo.tasks)
    assert todo.seconds == pytest.approx(whole.seconds)
    (group,) = [task for task in whole.tasks if isinstance(task.payload, GroupJob)]
    costs = [task.cost_seconds for task in todo.tasks if isinstance(task.payload, GroupJob)]
    assert max(costs) < group.cost_seconds
    assert [task.needs for task in todo.tasks if isinstance(task.payload, GroupJob)] == [group.needs] * len(parts)


def test_rates_of_one_sweep_stay_together_and_seeds_do_not(tmp_path: Path, at_once: None):
    spec = study()
    for task in split(schedule([plan(spec, tmp_path / "study")]), 64).tasks:
        if isinstance(task.payload, GroupJob):
            tuned = [cell for cell in task.payload.group.cells if isinstance(cell.modification, FineTune)]
            assert len({cell.seed for cell in tuned}) <= 1
            assert len(tuned) in (0, 2)


def test_large_models_split_their_sweeps_and_keep_what_shares_a_training(tmp_path: Path):
    cells = plan(tiny({"modifications.1.fine_tune": WISE}), tmp_path / "study").groups[0].cells
    lots = inseparable(cells, 10**9, Numerics())
    tuned = [[cell.labels["label"] for cell in lot] for lot in lots if isinstance(lot[0].modification, FineTune)]
    assert [len(lot) for lot in tuned] == [2], tuned
    rates = plan(tiny(), tmp_path / "study").groups[0].cells
    assert all(len(lot) == 1 for lot in inseparable(rates, 10**9, Numerics()))
    assert [len(lot) for lot in inseparable(rates, 10**6, Numerics())] == [1, 1, 2]
    assert all(len(lot) == 1 for lot in inseparable(rates, 10**6, replace(Numerics(), sweep="single")))


def test_a_release_waits_for_all_parts(tmp_path: Path, at_once: None):
    whole = schedule([plan(study(), tmp_path / "study")])
    (group,) = [task for task in whole.tasks if isinstance(task.payload, GroupJob)]
    release = replace(group, key="release", payload=None, needs=(group.key,), lane="fetch", cleans_up=True)
    todo = split(replace(whole, tasks=(*whole.tasks, release)), 64)
    parts = [task.key for task in todo.tasks if isinstance(task.payload, GroupJob)]
    assert todo.tasks[-1].needs == tuple(parts)


class AsManyAsEight:
    """An engine that says it works on eight tasks at once, and does them last to first."""

    workers = 8

    def run(self, tasks, work, observer, *, room=None):  # type: ignore[no-untyped-def]
        made = [task for task in tasks if not isinstance(task.payload, GroupJob)]
        measured = [task for task in reversed(tasks) if isinstance(task.payload, GroupJob)]
        assert len(measured) > 5
        free = [replace(task, needs=()) for task in measured]
        return SerialEngine().run(made, work, observer) + SerialEngine().run(free, work, observer)


@pytest.mark.parametrize("kernel", ["lanes", None])
def test_the_bytes_are_those_of_an_unsplit_run(tmp_path: Path, kernel: str | None, at_once: None):
    spec = study()
    second = {"fine_tune": WISE}
    spec = spec.model_copy(
        update={
            "modifications": (*spec.modifications, tiny({"modifications.1": second}).modifications[1]),
            "numerics": Numerics(kernel=kernel),  # type: ignore[arg-type]
        }
    )
    _, failures, _ = run(spec, tmp_path / "whole", SerialEngine())
    assert failures == []
    _, failures, started = run(spec, tmp_path / "split", AsManyAsEight())
    assert failures == []
    assert sum(" part " in key for key in started) > 5
    assert record_files(tmp_path / "split") == record_files(tmp_path / "whole")
    assert len(record_files(tmp_path / "whole")) > 20
