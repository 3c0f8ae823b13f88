"""The Slurm path on one machine: Slurm's commands are stand-ins that run the sbatch files submitit writes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fake_slurm
from pliant.execution.clusters import Slurm, log_of, parsed_options
from pliant.execution.engine import Event, Task, UserError
from pliant.execution.slurm_engine import SlurmEngine
from slurm_chores import cell, do, done, starts

TESTS = Path(__file__).parent.parent
PATIENCE_SECONDS = 120


@pytest.fixture(autouse=True)
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Slurm's commands, jobs that find the tests' modules, and nothing left running."""
    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *filter(None, sys.path)]))
    yield
    left = [job for job, state in fake_slurm.jobs().items() if state in ("PENDING", "RUNNING")]
    if left:
        subprocess.run(["scancel", *left], check=True)
    ended()


def ended() -> dict[str, str]:
    """Every job with its state, once none waits or runs: a driver leaves when all is reported, a little before."""
    assert wait_until(lambda: not {"PENDING", "RUNNING"} & set(fake_slurm.jobs().values()))
    return fake_slurm.jobs()


def engine(folder: Path, workers: int = 2, **options: object) -> SlurmEngine:
    return SlurmEngine(
        folder=folder / "jobs",
        cluster=Slurm(options={"time": 60} | options),
        workers=workers,
        job_seconds=0.0,
        poll_seconds=0.05,
        state_seconds=0.1,
        lag_seconds=0.3,
    )


def wait_until(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def unheard(event: Event) -> None:
    pass


def when(holds: Callable[[], bool], act: Callable[[], None]) -> "Callable[[], None]":
    """In a thread: wait until `holds`, then act; called, it waits until that is done."""
    import threading

    thread = threading.Thread(target=lambda: wait_until(holds) and act())
    thread.start()
    return lambda: thread.join(PATIENCE_SECONDS)


def test_tasks_run_as_arrays_of_jobs_within_bounds_and_in_order(tmp_path: Path):
    tasks = [cell(tmp_path, name) for name in "abc"] + [cell(tmp_path, "d", needs=("a", "b", "c"))]
    assert (
        engine(tmp_path, workers=3, **parsed_options(["partition=gpu", "sbatch.reservation=x"])).run(tasks, do, unheard)
        == []
    )
    assert done(tmp_path) == ["a", "b", "c", "d"]
    assert starts(tmp_path) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert [job.partition("_")[2] for job in ended()] == ["0", "1", "2", ""]
    assert set(ended().values()) == {"COMPLETED"}
    scripts = sorted((tmp_path / "jobs").glob("*_submission.sh"))
    assert len(scripts) == 2, "an array of three jobs, then one job"
    array = scripts[0].read_text()
    for line in ("--array=0-2%3", "--partition=gpu", "--reservation=x", "--time=60", "--signal=USR2@90", "--requeue"):
        assert f"#SBATCH {line}\n" in array
    assert not list((tmp_path / "jobs").glob("*.taken")), "what has ended is forgotten"


def test_a_partition_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="the cluster took no jobs: sbatch: error: invalid partition") as raised:
        engine(tmp_path, partition="nowhere").run([cell(tmp_path, "a")], do, unheard)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "jobs").glob("*.asked"))


def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(UserError, match=r"not on this machine's PATH: run this on a login node"):
        engine(tmp_path).run([cell(tmp_path, "a")], do, unheard)


def test_a_job_stopped_by_its_time_limit_goes_on_after_being_put_back(tmp_path: Path):
    """The signal reaches the job between the fifth of ten steps and the sixth; no step is done twice."""
    task = cell(tmp_path, "a", steps=10, pause_after=5)
    finish = when(lambda: len(done(tmp_path)) >= 5, lambda: stop(tmp_path))
    assert engine(tmp_path).run([task], do, unheard) == []
    finish()
    assert done(tmp_path) == [f"a.{step}" for step in range(10)]
    assert starts(tmp_path) == {"a": 2}
    assert list(ended().values()) == ["COMPLETED"], "one job, put back"


def stop(folder: Path) -> None:
    """What Slurm does before a time limit: the signal to the job's step."""
    (job,) = fake_slurm.jobs()
    subprocess.run(["scancel", job, "--signal", "USR2"], check=True)
    (folder / "go on").touch()


@pytest.mark.slow
def test_a_node_that_goes_down_costs_nothing_but_the_step(tmp_path: Path):
    task = cell(tmp_path, "a", steps=10, pause_after=5)

    def fail() -> None:
        fake_slurm.fail_node(*fake_slurm.jobs())
        (tmp_path / "go on").touch()

    finish = when(lambda: len(done(tmp_path)) >= 5, fail)
    assert engine(tmp_path).run([task], do, unheard) == []
    finish()
    assert done(tmp_path) == [f"a.{step}" for step in range(10)]
    assert starts(tmp_path) == {"a": 2}


@pytest.mark.slow
def test_a_job_that_dies_is_tried_once_more_and_its_log_is_named(tmp_path: Path):
    tasks = [cell(tmp_path, "a", act="killed"), cell(tmp_path, "b"), cell(tmp_path, "c", needs=("a",))]
    failures = engine(tmp_path).run(tasks, do, unheard)
    assert [(failure.key, failure.attempts) for failure in failures] == [("a", 2), ("c", 0)]
    assert starts(tmp_path) == {"a": 2, "b": 1}
    last = [job for job, state in ended().items() if state == "FAILED"][-1]
    assert f"job {last} ended with no result (FAILED)" in failures[0].error
    assert str(log_of(tmp_path / "jobs", last)) in failures[0].error
    assert log_of(tmp_path / "jobs", last).is_file()


@pytest.mark.slow
def test_packed_tasks_behind_one_that_dies_are_done_all_the_same(tmp_path: Path):
    tasks = [cell(tmp_path, "a"), cell(tmp_path, "b", act="killed once"), cell(tmp_path, "c")]
    packing = SlurmEngine(
        folder=tmp_path / "jobs",
        cluster=Slurm(options={"time": 60}),
        workers=2,
        job_seconds=1000.0,
        poll_seconds=0.05,
        state_seconds=0.1,
        lag_seconds=0.3,
    )
    assert packing.run(tasks, do, unheard) == []
    assert done(tmp_path) == ["a", "b", "c"]
    assert starts(tmp_path) == {"a": 1, "b": 2, "c": 1}
    assert len(fake_slurm.jobs()) == 2


def driver(folder: Path, *names: str) -> "subprocess.Popen[str]":
    """A driver in a process of its own, whose tasks wait for the file `go on`."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / 'integration')!r}]\n"
        "from test_slurm import engine, unheard\nfrom slurm_chores import cell, do\n"
        f"folder = Path({str(folder)!r})\n"
        f"tasks = [cell(folder, name, steps=4, pause_after=2) for name in {names!r}]\n"
        "print(engine(folder).run(tasks, do, unheard))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tasks_of(folder: Path, *names: str) -> list[Task]:
    return [cell(folder, name, steps=4, pause_after=2) for name in names]


@pytest.mark.slow
def test_jobs_of_a_killed_driver_are_taken_over_by_the_next(tmp_path: Path):
    with driver(tmp_path, "a", "b") as first:
        assert wait_until(lambda: len(done(tmp_path)) == 4)
        first.kill()
    assert list(fake_slurm.jobs().values()) == ["RUNNING", "RUNNING"], "jobs outlive their driver"
    finish = when(lambda: True, lambda: (time.sleep(1.0), (tmp_path / "go on").touch())[0])
    assert engine(tmp_path).run(tasks_of(tmp_path, "a", "b"), do, unheard) == []
    finish()
    assert len(fake_slurm.jobs()) == 2, "no job was submitted a second time"
    assert starts(tmp_path) == {"a": 1, "b": 1}
    assert done(tmp_path) == sorted(f"{name}.{step}" for name in "ab" for step in range(4))


@pytest.mark.slow
def test_jobs_of_a_killed_driver_that_do_other_work_are_cancelled_first(tmp_path: Path):
    with driver(tmp_path, "a", "b") as first:
        assert wait_until(lambda: len(done(tmp_path)) == 4)
        first.kill()
    (tmp_path / "go on").touch()
    for job in fake_slurm.jobs():
        os.kill(fake_slurm.step_of(job), signal.SIGSTOP)  # so that they cannot end by themselves just now
    grown = [cell(tmp_path, name, steps=6, pause_after=2) for name in "ab"]
    assert engine(tmp_path).run(grown, do, unheard) == []
    assert sorted(ended().values()) == ["CANCELLED", "CANCELLED", "COMPLETED", "COMPLETED"]
    assert done(tmp_path) == sorted(f"{name}.{step}" for name in "ab" for step in range(6))


@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs(tmp_path: Path):
    with driver(tmp_path, "a", "b") as first:
        assert wait_until(lambda: len(done(tmp_path)) == 4)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=PATIENCE_SECONDS)
    assert list(ended().values()) == ["CANCELLED", "CANCELLED"]
    assert not list((tmp_path / "jobs").glob("*.taken"))
