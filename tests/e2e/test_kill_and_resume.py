"""A study killed from outside with SIGKILL, resumed, killed again, ends with the files of an uninterrupted one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tiny_studies import record_files

HERE = Path(__file__).parent
SEED = 20_250_319
PATIENCE_SECONDS = 120
AT_A_POINT = [
    ("save_file", "half-way"),  # a snapshot or the weights of a member, half written
    ("save_file", "after"),
    ("fsync", "before"),  # a record written, not yet under its name
    ("replace", "before"),
    ("replace", "after"),
    ("rmtree", "half-way"),  # an older snapshot, half deleted
    ("run", "before"),  # in the middle of an evaluation
    ("update", "after"),  # in the middle of training
]


@dataclass
class Runner:
    """The warm process, and what its children said."""

    process: subprocess.Popen[str]
    kills: list[str] = field(default_factory=list)

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the runner has ended"
        message: dict[str, Any] = json.loads(line)
        assert "crashed" not in message, message["crashed"]
        return message

    def begin(self, folder: Path, stop: dict[str, Any] | None = None) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "stop": stop}) + "\n")
        self.process.stdin.flush()
        return int(self.hear()["process"])

    def finish(self, folder: Path) -> dict[str, int]:
        """Run to the end; how often each point was passed."""
        self.begin(folder)
        message = self.hear()
        assert (message["missing"], message["failures"]) == (0, [])
        assert self.hear() == {"status": 0}
        return dict(message["passed"])

    def kill_at(self, folder: Path, kind: str, number: int, when: str) -> bool:
        """Kill the run at a point; False if it ended before."""
        process = self.begin(folder, {"kind": kind, "number": number, "when": when})
        message = self.hear()
        if "stopped_at" in message:
            os.killpg(process, signal.SIGKILL)
            self.kills.append(f"{kind} {number} {when}")
        return self._was_killed(message)

    def kill_after(self, folder: Path, seconds: float) -> bool:
        """Kill the run after a time; False if it ended before."""
        process = self.begin(folder)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it had ended
            os.killpg(process, signal.SIGKILL)
            self.kills.append(f"{seconds:.3f} s")
        return self._was_killed(self.hear())

    def _was_killed(self, message: dict[str, Any]) -> bool:
        while "status" not in message:
            message = self.hear()
        return os.WIFSIGNALED(message["status"]) and os.WTERMSIG(message["status"]) == signal.SIGKILL


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with subprocess.Popen(
        [sys.executable, HERE / "warm_runner.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        warm = Runner(process)
        try:
            assert warm.hear() == {"ready": True}
            yield warm
        finally:
            process.kill()


@dataclass(frozen=True)
class Uninterrupted:
    files: dict[str, bytes]
    passed: dict[str, int]
    seconds: float


@pytest.fixture(scope="module")
def uninterrupted(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted") / "study"
    begun = time.monotonic()
    passed = runner.finish(folder)
    return Uninterrupted(all_files(folder), passed, time.monotonic() - begun)


def all_files(folder: Path) -> dict[str, bytes]:
    """Records and weights: what must come out the same."""
    weights = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "artifacts").rglob("model.safetensors")
        if "snapshots" not in path.parts
    }
    return record_files(folder) | weights


def check(folder: Path, expected: Uninterrupted) -> None:
    found = all_files(folder)
    assert sorted(found) == sorted(expected.files)
    assert [name for name in found if found[name] != expected.files[name]] == []
    assert list(folder.rglob(".part-*")) == []


def killed_at_points(runner: Runner, kind: str, when: str, expected: Uninterrupted, folder: Path) -> None:
    """Up to three kills at seeded passes of one kind of point, then to the end."""
    chance = random.Random(f"{SEED} {kind} {when}")
    for _ in range(3):
        if not runner.kill_at(folder, kind, chance.randint(1, max(1, expected.passed[kind] // 4)), when):
            break
    runner.finish(folder)
    check(folder, expected)


def killed_at_times(runner: Runner, chain: int, expected: Uninterrupted, folder: Path) -> None:
    """Up to six kills after seeded times, then to the end."""
    chance = random.Random(f"{SEED} {chain}")
    for _ in range(6):
        if not runner.kill_after(folder, chance.uniform(0.05, 0.6) * expected.seconds):
            break
    runner.finish(folder)
    check(folder, expected)


def test_killed_in_a_snapshot_an_evaluation_a_rename_and_at_any_time(
    runner: Runner, uninterrupted: Uninterrupted, tmp_path: Path
):
    assert len(uninterrupted.files) > 50
    assert min(uninterrupted.passed.get(kind, 0) for kind, _ in AT_A_POINT) >= 3, uninterrupted.passed
    runner.finish(tmp_path / "again")
    check(tmp_path / "again", uninterrupted)

    folder = tmp_path / "study"
    assert runner.kill_at(folder, "save_file", 3, "half-way")
    assert runner.kill_at(folder, "rmtree", 2, "half-way")
    assert runner.kill_at(folder, "run", 5, "before")
    assert runner.kill_at(folder, "replace", 9, "before")
    assert list(folder.rglob(".part-*")) != []
    runner.finish(folder)
    check(folder, uninterrupted)

    killed_at_times(runner, 0, uninterrupted, tmp_path / "at any time")


@pytest.mark.slow
def test_killed_twenty_times_and_more(runner: Runner, uninterrupted: Uninterrupted, tmp_path: Path):
    runner.kills.clear()
    for kind, when in AT_A_POINT:
        killed_at_points(runner, kind, when, uninterrupted, tmp_path / f"{kind} {when}")
    for chain in range(1, 4):
        killed_at_times(runner, chain, uninterrupted, tmp_path / str(chain))
    assert len(runner.kills) >= 20, runner.kills


@pytest.mark.slow
def test_worker_processes_killed_with_their_parent(uninterrupted: Uninterrupted, tmp_path: Path):
    chance = random.Random(f"{SEED} workers")
    folder = tmp_path / "study"
    begun = time.monotonic()
    assert in_two_workers(folder) == 0
    whole = time.monotonic() - begun
    check(folder, uninterrupted)
    folder = tmp_path / "killed"
    for share in (0.7, 0.9):
        in_two_workers(folder, chance.uniform(share - 0.1, share) * whole)
    assert in_two_workers(folder) == 0
    check(folder, uninterrupted)


def in_two_workers(folder: Path, kill_after: float | None = None) -> int:
    """Run the study in two worker processes; the exit code, that of SIGKILL if its group was killed meanwhile."""
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(HERE), str(HERE.parent)]!r}
from warm_runner import STUDY
from tiny_studies import run
from pliant.execution.local import LocalEngine
table, failures, _ = run(STUDY, Path({str(folder)!r}), LocalEngine(workers=2))
sys.exit(table.missing + len(failures))
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=PATIENCE_SECONDS if kill_after is None else kill_after)
        os.killpg(process.pid, signal.SIGKILL)
    return process.returncode
