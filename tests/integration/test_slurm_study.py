"""A real study through jobs: the files of a local run, whatever dies on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import fake_slurm
from pliant.execution.clusters import LocalJobs
from pliant.execution.local import SerialEngine
from pliant.execution.slurm_engine import SlurmEngine
from tiny_studies import content, record_files, run, tiny

TESTS = Path(__file__).parent.parent
PATIENCE_SECONDS = 600  # every job imports torch anew
MORE = {"modifications.1.fine_tune.steps": 4, "trajectories.0.ladder.seeds": [1, 2]}


@pytest.fixture
def jobs_find_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *filter(None, sys.path)]))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The record files of the study as the serial engine writes them."""
    folder = tmp_path_factory.mktemp("serial") / "study"
    _, failures, _ = run(tiny(MORE), folder, SerialEngine())
    assert failures == []
    return record_files(folder)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs_find_us: None) -> Iterator[list[str]]:
    """`pliant run` of the study on a stand-in for Slurm."""
    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content(MORE)))
    yield [
        *(sys.executable, "-m", "pliant", "run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "study")),
        *("--engine", "slurm", "--slurm", "partition=gpu", "--workers", "2", "--log", "jsonl"),
    ]
    assert wait_until(lambda: not {"PENDING", "RUNNING"} & set(fake_slurm.jobs().values()))


def wait_until(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def written(folder: Path) -> int:
    return len(record_files(folder)) if (folder / "records").is_dir() else 0


@pytest.mark.slow
def test_records_through_slurm_are_the_local_ones_byte_for_byte(
    command: list[str], tmp_path: Path, expected: dict[str, bytes]
):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    assert record_files(tmp_path / "study") == expected
    assert set(fake_slurm.jobs().values()) <= {"COMPLETED", "RUNNING"}
    (script, *_) = (tmp_path / "study" / "jobs" / "slurm").glob("*_submission.sh")
    for line in ("--partition=gpu", "--time=120", "--cpus-per-task=1", "--job-name=pliant"):
        assert f"#SBATCH {line}\n" in script.read_text()


@pytest.mark.slow
def test_a_driver_killed_twice_and_a_node_lost_cost_no_record(
    command: list[str], tmp_path: Path, expected: dict[str, bytes]
):
    """Killed when its jobs are submitted, when the first records are there, and a node goes down in between."""
    for enough in (0, 1):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
            assert wait_until(
                lambda enough=enough: "RUNNING" in fake_slurm.jobs().values() and written(tmp_path / "study") >= enough
            )
            driver.send_signal(signal.SIGKILL)
        running = [job for job, state in fake_slurm.jobs().items() if state == "RUNNING"]
        if running:
            fake_slurm.fail_node(running[0])
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    assert record_files(tmp_path / "study") == expected
    assert not list((tmp_path / "study").rglob(".part-*"))


@pytest.mark.slow
def test_local_jobs_killed_and_stopped_cost_no_record(tmp_path: Path, jobs_find_us: None, expected: dict[str, bytes]):
    """The process of the first job is killed, that of the second is sent the signal of a time limit."""
    folder = tmp_path / "study"
    engine = SlurmEngine(
        folder=folder / "jobs", cluster=LocalJobs(), workers=1, poll_seconds=0.1, state_seconds=0.2, lag_seconds=0.0
    )
    sent: list[int] = []

    def hurt() -> None:
        while len(sent) < 2 and running:
            for process in steps(folder / "jobs"):
                if process not in sent and len(sent) < 2:
                    os.kill(process, (signal.SIGKILL, signal.SIGUSR2)[len(sent)])
                    sent.append(process)
            time.sleep(0.01)

    from pliant.studies.runner import run_studies

    running = [True]
    beside = threading.Thread(target=hurt)
    beside.start()
    try:
        _, failures = run_studies([(tiny(MORE), folder)], engine=engine, observe=lambda _: lambda _: None)
    finally:
        running.clear()
        beside.join()
    assert (failures, len(sent)) == ([], 2)
    assert record_files(folder) == expected


def steps(jobs: Path) -> list[int]:
    """The processes that do the work of this folder's jobs, once they have begun."""
    if not list(jobs.glob("*.report")):
        return []
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "core._submit" in line and str(jobs) in line]
