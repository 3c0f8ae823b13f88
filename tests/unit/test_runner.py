"""From a study to its records: what runs, what does not run again, and what is said when something is wrong."""

import math
import shutil
from pathlib import Path

import pytest
import yaml

from pliant.execution.engine import Event
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.planned import read_plan
from pliant.execution.store import Store, StoreError
from pliant.records.numerics import Numerics
from pliant.studies.engines import default_engine
from pliant.studies.runner import run_studies
from pliant.studies.schedule import schedule
from pliant.studies.settling import settle
from pliant.studies.spec import SpecError
from theirs import save_checkpoint
from tiny_studies import content, is_one_line, of_checkpoints, plan, record_files, run, tiny

TUNING = content()["modifications"][1]["fine_tune"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "study"
    table, failures, started = run(tiny(), folder)
    assert (table.missing, failures) == (0, [])
    assert len(started) == 2 * 2 + 2  # two trunk segments, two branches, two groups
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished study: it opens wherever it lies."""
    return shutil.copytree(finished, tmp_path / "study")


def test_a_finished_study_is_left_as_it_is(folder: Path):
    before = {path: path.stat().st_mtime_ns for path in (folder / "records").rglob("*")}
    table, failures, started = run(tiny(), folder)
    assert (table.missing, failures, started) == (0, [], [])
    assert {path: path.stat().st_mtime_ns for path in (folder / "records").rglob("*")} == before
    assert schedule([plan(tiny(), folder)]).cells_missing == 0


def test_one_deleted_record_is_measured_again_to_the_same_bytes(folder: Path):
    before = record_files(folder)
    gone = sorted(before)[3]
    (folder / gone).unlink()
    times = {path: (folder / path).stat().st_mtime_ns for path in before if path != gone}
    table, failures, started = run(tiny(), folder)
    assert (table.missing, failures, len(started)) == (0, [], 1)
    assert started[0].startswith("group ")
    assert record_files(folder) == before
    assert {path: (folder / path).stat().st_mtime_ns for path in times} == times


def test_a_study_that_grows_runs_what_is_new(folder: Path):
    before = record_files(folder)
    grown = tiny({"modifications.1.fine_tune.learning_rates": [0.01, 0.02, 0.04]})
    assert schedule([plan(grown, folder)]).cells_missing == 2
    table, _, started = run(grown, folder)
    after = record_files(folder)
    assert table.missing == 0
    assert [key.startswith("group ") for key in started] == [True, True]
    assert before.items() < after.items()
    assert len(after) == len(before) + 2 * 4


def test_the_language_changed_in_one_folder_trains_new_weights(folder: Path):
    ours, _, _ = run(tiny(), folder)
    theirs, failures, started = run(tiny({"corpus": "markov:4"}), folder)
    assert failures == []
    assert sum(not key.startswith("group ") for key in started) == 4
    assert {row["weights"] for row in ours.rows}.isdisjoint(row["weights"] for row in theirs.rows)


def test_the_numerics_plan_of_the_folder_stays(folder: Path):
    assert settle(tiny(), folder, {}).numerics == Numerics(kernel="lanes")
    file = folder / "study.yaml"
    before = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(before | {"numerics": before["numerics"] | {"evaluation_batch_tokens": 64}}))
    assert settle(tiny(), folder, {}).numerics.evaluation_batch_tokens == 64


def test_the_folder_of_another_study_is_refused_and_kept(folder: Path):
    before = record_files(folder), (folder / "study.yaml").read_bytes()
    with pytest.raises(SpecError, match="belongs to the study 'tiny', not 'other'; give another --out") as caught:
        run(tiny({"study": "other"}), folder)
    assert is_one_line(str(caught.value))
    assert (record_files(folder), (folder / "study.yaml").read_bytes()) == before


def test_a_folder_that_is_no_study_is_refused_and_kept(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecError, match=r"is not empty and holds no study.yaml"):
        run(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="is a file; give a folder"):
        run(tiny(), tmp_path / "file")


def test_a_study_file_that_was_damaged_is_named(folder: Path):
    (folder / "study.yaml").write_text("study: [")
    with pytest.raises(SpecError, match=r"study.yaml is not YAML"):
        run(tiny(), folder)


def test_a_study_that_cannot_be_planned_changes_nothing(folder: Path, tmp_path: Path):
    before = (folder / "study.yaml").read_bytes(), (folder / "plan.json").read_bytes()
    bad = tiny({"modifications.1.fine_tune.task": "poetry"})
    with pytest.raises(ValueError, match="no task 'poetry'"):
        run(bad, folder)
    assert ((folder / "study.yaml").read_bytes(), (folder / "plan.json").read_bytes()) == before
    with pytest.raises(ValueError, match="no task 'poetry'"):
        run(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_fine_tune_that_diverges_is_a_measurement(tmp_path: Path):
    spec = tiny({"modifications": [{"fine_tune": TUNING | {"learning_rates": [0.01, 1e30], "steps": 6}}]})
    table, failures, _ = run(spec, tmp_path / "study")
    assert (table.missing, failures, table.failed) == (0, [], ())
    diverged = [row for row in table.rows if row["status"] == "diverged"]
    assert {row["strength"] for row in diverged} == {1e30}
    assert {row["metric"] for row in diverged} == {"loss_nats", "distance", "adaptation_nats"}
    assert all(math.isnan(row["value"]) for row in diverged)
    assert all(math.isfinite(row["value"]) for row in table.rows if row["status"] == "ok")
    assert run(spec, tmp_path / "study")[2] == []


def test_zero_strengths_give_the_base_bit_for_bit(tmp_path: Path):
    zero = [{"noise": {"strengths": [0], "draws": 1}}, {"fine_tune": TUNING | {"learning_rates": [0]}}]
    table, _, _ = run(tiny({"modifications": zero}), tmp_path / "study")
    for checkpoint in {row["checkpoint"] for row in table.rows}:
        rows = [r for r in table.rows if r["checkpoint"] == checkpoint and r["evaluation"] == "pretraining-loss"]
        assert {row["modification"] for row in rows} == {"none", "noise", "fine-tune"}
        assert len({(row["value"], row["blocks"]) for row in rows}) == 1


def test_a_cell_that_cannot_be_measured_is_listed_and_the_rest_goes_on(tmp_path: Path):
    theirs = save_checkpoint(tmp_path / "theirs")
    noises = [{"noise": {"scaling": scaling, "strengths": [0.05], "draws": 1}} for scaling in ("init", "relative")]
    spec = of_checkpoints(theirs, modifications=noises)
    table, failures, _ = run(spec, tmp_path / "study")
    assert (table.missing, failures) == (1, [])
    (failed,) = table.failed
    assert "has no init_stds in pliant.json; use scaling: relative" in failed.error
    assert is_one_line(failed.error)
    assert (failed.attempts, failed.labels["scaling"]) == (1, "init")
    assert {row["scaling"] for row in table.rows} == {None, "relative"}


def test_a_cell_that_crashes_is_tried_twice_then_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def crash(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("no such luck")

    monkeypatch.setattr("pliant.modifications.noise.keyed_normal", crash)
    table, failures, _ = run(tiny(), tmp_path / "study")
    assert failures == []
    assert len(calls) == 2 * 2
    assert {(failed.attempts, failed.error) for failed in table.failed} == {(2, "RuntimeError: no such luck")}
    assert {failed.labels["modification"] for failed in table.failed} == {"noise"}
    assert table.missing == len(table.failed) == 2
    monkeypatch.undo()
    table, _, started = run(tiny(), tmp_path / "study")
    assert (table.missing, table.failed, len(started)) == (0, (), 2)


def test_an_unreadable_record_is_named_in_a_line(folder: Path):
    store = Store(folder)
    group = plan(tiny(), folder).groups[0]
    damaged, *_, other = [store.path(c.key, e.key) for c in group.cells for e in c.evaluations]
    damaged.write_text("{")
    with pytest.raises(StoreError, match="moves it aside, and `pliant run` then measures it again"):
        run(tiny(), folder)
    other.unlink()
    damaged.with_name("run.json").write_text("")  # half written: how the cell went is lost, and nothing else
    seen: list[Event] = []
    with pytest.raises(StoreError) as caught:
        run_studies([(tiny(), folder)], engine=SerialEngine(), observe=lambda _: seen.append)
    assert seen == []  # before anything ran
    assert str(damaged) in str(caught.value)
    assert is_one_line(str(caught.value))


def test_what_was_left_by_a_kill_is_swept(folder: Path):
    (folder / "records" / "0123456789abcdef").mkdir()
    (folder / "records" / "0123456789abcdef" / ".part-x.json").write_text("{")
    (folder / "artifacts" / "snapshots" / ".part-x").mkdir(parents=True)
    run(tiny(), folder)
    assert list(folder.rglob(".part-*")) == []


def test_two_studies_run_as_one_schedule(tmp_path: Path):
    studies = [
        (tiny({"modifications": []}), tmp_path / "one"),
        (tiny({"modifications": [], "study": "other"}), tmp_path / "other"),
    ]
    tables, failures = run_studies(studies, engine=SerialEngine(), observe=lambda todo: lambda _: None)
    assert ([table.study for table in tables], [table.missing for table in tables]) == (["tiny", "other"], [0, 0])
    assert failures == []
    assert record_files(tmp_path / "one") == record_files(tmp_path / "other")


def test_two_studies_of_one_checkpoint_run_as_one_schedule(tmp_path: Path):
    theirs = save_checkpoint(tmp_path / "theirs")
    studies = [(of_checkpoints(theirs, study=name), tmp_path / name) for name in ("one", "other")]
    tables, failures = run_studies(studies, engine=SerialEngine(), observe=lambda todo: lambda _: None)
    assert ([table.missing for table in tables], failures) == ([0, 0], [])


def test_the_observer_hears_of_the_whole_schedule_first(tmp_path: Path):
    heard = []
    run_studies(
        [(tiny({"modifications": []}), tmp_path / "study")],
        engine=SerialEngine(),
        observe=lambda todo: heard.append((todo.cells_missing, todo.cells, todo.seconds > 0)) or (lambda _: None),
    )
    assert heard == [(2, 2, True)]


def test_an_estimate_is_given_for_every_task(tmp_path: Path):
    todo = schedule([plan(tiny(), tmp_path / "study")])
    assert all(task.cost_seconds > 0 for task in todo.tasks)
    assert todo.seconds == pytest.approx(sum(task.cost_seconds for task in todo.tasks))


def test_the_engine_follows_the_numerics_plan():
    assert default_engine(tiny(), 3) == LocalEngine(workers=3, threads=1)
    assert default_engine(tiny(), 0) == SerialEngine()
    assert default_engine(tiny({"numerics": {"device": "cuda"}})) == LocalEngine(workers=1, threads=1)


def test_plan_json_says_what_was_planned(folder: Path):
    study, written = read_plan(folder)
    assert study == "tiny"
    planned = plan(tiny(), folder).cells()
    assert [(c.cell, dict(c.labels)) for c in written] == [(c.cell, dict(c.labels)) for c in planned]


@pytest.mark.parametrize("gone", [[0], [2], [1, 3], [0, 1, 2, 4], [0, 1, 2, 3, 4]], ids=str)
def test_any_part_of_a_sweep_is_measured_again_to_the_same_bytes(gone: list[int], tmp_path: Path):
    """Rates are trained side by side: how many of them are still to do must not show in the numbers."""
    folder = tmp_path / "study"
    rates = [0.002, 0.005, 0.01, 0.02, 0.05]
    ladder = {"budgets": [512], "architecture": "width-8-markov", "recipe.batch_windows": 16}
    tuning = {"modifications.1.fine_tune.learning_rates": rates, "modifications.1.fine_tune.batch": 8}
    spec = tiny({f"trajectories.0.ladder.{name}": value for name, value in ladder.items()} | tuning)
    run(spec, folder)
    before = record_files(folder)
    (group,) = plan(spec, folder).groups
    for number in gone:
        (cell,) = [c for c in group.cells if c.labels["strength"] == rates[number] and c.labels["task"]]
        shutil.rmtree(folder / "records" / cell.key)
    table, failures, started = run(spec, folder)
    assert (table.missing, failures, len(started)) == (0, [], 1)
    assert record_files(folder) == before
