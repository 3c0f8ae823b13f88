"""What every engine promises: order, failures as data, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from chores import chore, do, fetched, lines

from at_once import AtOnce
from pliant.execution.clusters import Cluster, LocalJobs
from pliant.execution.engine import Engine, Event, Task, TaskFailure, critical_path
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.ray_cluster import joined
from pliant.execution.ray_engine import RayEngine
from pliant.execution.slurm_engine import SlurmEngine
from ray_nodes import nodes

HERE = Path(__file__).parent
PATIENCE_SECONDS = 20  # for a process to end on a busy machine; it takes well under one


@pytest.fixture(scope="module")
def ray() -> Iterator[RayEngine]:
    """On a cluster that was there before, and that this process is connected to from the first test to the last."""
    with nodes(seen=[HERE], num_cpus=2) as cluster:
        engine = RayEngine(address=cluster.address, workers=2)
        with joined(cluster.address, workers=2, resources=engine.resources):
            yield engine


RAY = pytest.param("ray", marks=pytest.mark.slow)  # each test starts processes that import Ray
LOCAL_JOBS = pytest.param("slurm, local jobs", marks=pytest.mark.slow)


def _engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    known: dict[str, Callable[[], Engine]] = {
        "serial": SerialEngine,
        "local": lambda: LocalEngine(workers=2),
        "slurm, at once": lambda: slurm_engine(tmp_path, AtOnce()),
        "slurm, local jobs": lambda: slurm_engine(tmp_path, LocalJobs()),
    }
    if request.param.startswith("slurm"):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))  # for jobs
    yield known[request.param]() if request.param in known else request.getfixturevalue("ray")
    assert multiprocessing.active_children() == []


engine = pytest.fixture(_engine, params=["serial", "local", "slurm, at once", LOCAL_JOBS, RAY], name="engine")
beside = pytest.fixture(_engine, params=["local", RAY], name="beside")


def slurm_engine(folder: Path, cluster: Cluster) -> SlurmEngine:
    return SlurmEngine(
        folder=folder / "jobs",
        cluster=cluster,
        workers=2,
        job_seconds=0.0,
        poll_seconds=0.02,
        state_seconds=0.1,
        lag_seconds=0.0,
    )


@pytest.fixture
def local() -> Iterator[LocalEngine]:
    yield LocalEngine(workers=2)
    assert multiprocessing.active_children() == []


def run(engine: Engine, tasks: Sequence[Task]) -> tuple[list[TaskFailure], list[Event]]:
    heard: list[Event] = []
    return engine.run(tasks, do, heard.append), heard


def said(folder: Path, what: str) -> list[str]:
    return [key for key, word, *_ in lines(folder) if word == what]


def pids(folder: Path) -> set[int]:
    return {int(pid) for _, _, pid, *_ in lines(folder)}


def runs_still(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")  # Z: ended, not yet reaped by its new parent


def wait_until(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def test_nothing_to_do(engine: Engine):
    assert run(engine, []) == ([], [])


def test_needs_are_done_first(engine: Engine, tmp_path: Path):
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}
    failures, heard = run(engine, [chore(tmp_path, key, needs=need) for key, need in needs.items()])
    assert failures == []
    log = [(key, word) for key, word, *_ in lines(tmp_path)]
    assert sorted(said(tmp_path, "end")) == list("abcde")
    for key, need in needs.items():
        assert all(log.index((other, "end")) < log.index((key, "begin")) for other in need)
    assert [event.kind for event in heard if event.key == "d"][0::2] == ["started", "finished"]


def test_a_failure_stops_only_what_needs_it(engine: Engine, tmp_path: Path):
    tasks = [
        chore(tmp_path, "bad", "user error"),
        chore(tmp_path, "after", needs=("bad",)),
        chore(tmp_path, "after that", needs=("after",)),
        chore(tmp_path, "good"),
        chore(tmp_path, "better", needs=("good",)),
    ]
    failures, heard = run(engine, tasks)
    assert sorted(said(tmp_path, "end")) == ["better", "good"]
    assert [(f.key, f.attempts) for f in failures] == [("bad", 1), ("after", 0), ("after that", 0)]
    assert failures[1].error == "not started, because chore bad failed"
    assert failures[2].error == "not started, because chore after failed"
    assert [event.kind for event in heard if event.key.startswith("after")] == ["skipped", "skipped"]


def test_a_need_met_twice_over_is_skipped_once(engine: Engine, tmp_path: Path):
    tasks = [
        chore(tmp_path, "bad", "user error"),
        chore(tmp_path, "left", needs=("bad",)),
        chore(tmp_path, "right", needs=("bad",)),
        chore(tmp_path, "both", needs=("left", "right")),
    ]
    failures, _ = run(engine, tasks)
    assert sorted(failure.key for failure in failures) == ["bad", "both", "left", "right"]


def test_a_users_error_is_one_line_and_not_tried_again(engine: Engine, tmp_path: Path):
    (failure,), _ = run(engine, [chore(tmp_path, "bad", "user error")])
    assert (failure.error, failure.user_error) == ("the corpus is too small; give more text", True)
    assert said(tmp_path, "begin") == ["bad"]


def test_another_error_is_tried_twice_and_comes_with_its_traceback(engine: Engine, tmp_path: Path):
    (failure,), heard = run(engine, [chore(tmp_path, "bad", "error")])
    assert said(tmp_path, "begin") == ["bad", "bad"]
    assert (failure.attempts, failure.user_error) == (2, False)
    assert failure.error.startswith("RuntimeError: attempt 2 went wrong\nTraceback")
    assert "chores.py" in failure.error
    assert [event.kind for event in heard] == ["started", "started", "failed"]


def test_what_succeeds_at_the_second_attempt_has_not_failed(engine: Engine, tmp_path: Path):
    failures, heard = run(engine, [chore(tmp_path, "shaky", "error once"), chore(tmp_path, "next", needs=("shaky",))])
    assert failures == []
    assert said(tmp_path, "end") == ["shaky", "next"]
    assert heard[-1] == Event(kind="finished", key="next", share=1.0)


def test_progress_arrives_with_its_figures(engine: Engine, tmp_path: Path):
    _, heard = run(engine, [chore(tmp_path, "a")])
    assert Event(kind="progress", key="a", share=0.5, figures={"loss": 1.25}) in heard
    assert [event.kind for event in heard] == ["started", "progress", "finished"]


def test_failures_are_listed_in_order_of_happening(engine: Engine, tmp_path: Path):
    tasks = [
        chore(tmp_path, "late", "user error", needs=("slow",)),
        chore(tmp_path, "slow", "slow"),
        chore(tmp_path, "early", "user error", cost=9.0),
    ]
    failures, heard = run(engine, tasks)
    assert [failure.key for failure in failures] == ["early", "late"]
    assert [event.key for event in heard if event.kind == "failed"] == ["early", "late"]


def test_the_longest_chain_begins_first(engine: Engine, tmp_path: Path):
    tasks = [chore(tmp_path, "short", cost=3.0), chore(tmp_path, "a"), chore(tmp_path, "b", needs=("a",), cost=5.0)]
    assert critical_path(tasks) == {"short": 3.0, "a": 6.0, "b": 5.0}
    _, heard = run(engine, tasks)
    assert next(event.key for event in heard if event.kind == "started") == "a"


def held_at_most(folder: Path) -> int:
    """How many fetches were begun and not yet released, at the worst moment."""
    now = most = 0
    for key, word, *_ in lines(folder):
        now += (word == "begin") * key.startswith("fetch") - (word == "end") * key.startswith("release")
        most = max(most, now)
    return most


@pytest.mark.parametrize("room", [1, 2, 3])
def test_what_is_fetched_never_holds_more_than_the_room(engine: Engine, tmp_path: Path, room: int):
    assert engine.run(fetched(tmp_path, "abcdef"), do, lambda _: None, room=room) == []
    assert len(said(tmp_path, "end")) == 18
    assert held_at_most(tmp_path) <= room


def test_the_next_is_fetched_while_this_one_is_used(beside: Engine, tmp_path: Path):
    tasks = fetched(tmp_path, "abc", use_a="wait for:fetch-b", use_b="wait for:use-a")
    assert beside.run(tasks, do, lambda _: None, room=2) == []
    log = [(key, word) for key, word, *_ in lines(tmp_path)]
    assert log.index(("fetch-b", "end")) < log.index(("use-a", "end"))
    released = min(log.index((key, "end")) for key in ("release-a", "release-b"))
    assert released < log.index(("fetch-c", "begin"))


def test_what_failed_is_released_all_the_same(engine: Engine, tmp_path: Path):
    tasks = fetched(tmp_path, "abcd", fetch_b="user error", use_c="user error")
    failures = engine.run(tasks, do, lambda _: None, room=1)
    assert sorted(failure.key for failure in failures) == ["fetch-b", "use-b", "use-c"]
    assert [key for key in said(tmp_path, "end") if key.startswith("release")] == [f"release-{n}" for n in "abcd"]


def test_more_room_than_there_is_fails_alone(engine: Engine, tmp_path: Path):
    tasks = fetched(tmp_path, "a") + fetched(tmp_path, "b", holds=5) + fetched(tmp_path, "c")
    failures = engine.run(tasks, do, lambda _: None, room=2)
    assert [(failure.key, failure.user_error) for failure in failures] == [("fetch-b", True), ("use-b", False)]
    assert "give a larger --cache-cap" in failures[0].error
    assert "use-c" in said(tmp_path, "end")


def test_tasks_of_one_key_are_our_mistake(engine: Engine, tmp_path: Path):
    with pytest.raises(AssertionError, match="differ"):
        run(engine, [chore(tmp_path, "a"), chore(tmp_path, "a")])


def test_ctrl_c_passes_through(engine: Engine, tmp_path: Path):
    if isinstance(engine, SlurmEngine) and isinstance(engine.cluster, AtOnce):
        pytest.skip("its jobs have ended before anything is heard of them")

    def interrupted(event: Event) -> None:
        if event.kind == "progress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run([chore(tmp_path, key, "endless") for key in "ab"], do, interrupted)
    ours = pids(tmp_path) - {os.getpid()}
    assert wait_until(lambda: not any(runs_still(pid) for pid in ours))


@pytest.mark.parametrize(("act", "code"), [("exit", 3), ("killed", -signal.SIGKILL)])
def test_a_worker_that_dies_fails_its_task_alone(act: str, code: int, beside: Engine, tmp_path: Path):
    tasks = [chore(tmp_path, "bad", act, cost=9.0), *(chore(tmp_path, key) for key in "abc")]
    (failure,), _ = run(beside, tasks)
    assert sorted(said(tmp_path, "end")) == ["a", "b", "c"]
    assert (failure.key, failure.attempts) == ("bad", 2)
    assert (f"exit code {code}" if isinstance(beside, LocalEngine) else "the worker process") in failure.error
    tried = [pid for key, _, pid, *_ in lines(tmp_path) if key == "bad"]
    assert len(set(tried)) == 2, "the second attempt is in a fresh worker"


def test_a_death_that_does_not_repeat_is_no_failure(beside: Engine, tmp_path: Path):
    failures, _ = run(beside, [chore(tmp_path, "shaky", "killed once"), chore(tmp_path, "next", needs=("shaky",))])
    assert failures == []
    assert said(tmp_path, "end") == ["shaky", "next"]


def test_a_worker_that_dies_while_idle_is_replaced(beside: Engine, tmp_path: Path):
    tasks = [
        chore(tmp_path, "doomed", "killed afterwards"),
        chore(tmp_path, "slow", "slow"),
        *(chore(tmp_path, key, "slow", needs=("slow",)) for key in "abc"),
    ]
    failures, _ = run(beside, tasks)
    assert failures == []
    assert sorted(said(tmp_path, "end")) == ["a", "b", "c", "doomed", "slow"]


def test_workers_stay_warm_have_their_threads_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    LocalEngine(workers=2, threads=3).run([chore(tmp_path, key) for key in "abcdefgh"], do, lambda _: None)
    assert {threads for *_, threads in lines(tmp_path)} == {"3"}
    assert 1 <= len(pids(tmp_path)) <= 2
    assert os.getpid() not in pids(tmp_path)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert wait_until(lambda: not any(runs_still(pid) for pid in pids(tmp_path)))


@pytest.mark.slow  # starting a cluster takes what other work on the machine leaves
def test_on_ray_order_failures_deaths_and_threads(ray: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the other tests ask of each engine, in one run of Ray's."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    tasks = [
        chore(tmp_path, "bad", "user error"),
        chore(tmp_path, "after", needs=("bad",)),
        chore(tmp_path, "err", "error"),
        chore(tmp_path, "shaky", "killed once", cost=9.0),
        chore(tmp_path, "next", needs=("shaky",)),
        *fetched(tmp_path, "xy"),
    ]
    heard: list[Event] = []
    failures = replace(ray, threads=3).run(tasks, do, heard.append, room=1)
    assert [(f.key, f.attempts, f.user_error) for f in failures if f.key != "err"] == [
        ("bad", 1, True),
        ("after", 0, False),
    ]
    assert [f.error.splitlines()[0] for f in failures if f.key == "err"] == ["RuntimeError: attempt 2 went wrong"]
    assert sorted(said(tmp_path, "end")) == sorted(
        [*(f"{what}-{name}" for what in ("fetch", "use", "release") for name in "xy"), "next", "shaky"]
    )
    log = [(key, word) for key, word, *_ in lines(tmp_path)]
    assert log.index(("shaky", "end")) < log.index(("next", "begin"))
    assert held_at_most(tmp_path) == 1
    assert Event(kind="progress", key="next", share=0.5, figures={"loss": 1.25}) in heard
    assert {threads for *_, threads in lines(tmp_path)} == {"3"}
    assert len(pids(tmp_path)) <= 4, "two workers, one in place of the killed one, and one that fetches"
    assert wait_until(lambda: not any(runs_still(pid) for pid in pids(tmp_path)))


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A script without a `__main__` guard whose two workers are busy; its own process group."""
    code = (
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(HERE)!r})\n"
        f"from chores import run_endless_chores\nrun_endless_chores(Path({str(tmp_path)!r}))\n"
    )
    (tmp_path / "script.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: len(pids(tmp_path)) == 2), process.stderr
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_killed_parent_takes_its_workers_along(script: subprocess.Popen[str], tmp_path: Path):
    assert all(runs_still(pid) for pid in pids(tmp_path))
    script.kill()
    begun = time.monotonic()
    assert wait_until(lambda: not any(runs_still(pid) for pid in pids(tmp_path)))
    assert time.monotonic() - begun < PATIENCE_SECONDS


def test_ctrl_c_in_a_terminal_ends_all_with_one_traceback(script: subprocess.Popen[str], tmp_path: Path):
    os.killpg(script.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, errors = script.communicate(timeout=PATIENCE_SECONDS)
    assert script.returncode != 0
    assert errors.count("Traceback") == 1, errors
    assert wait_until(lambda: not any(runs_still(pid) for pid in pids(tmp_path)))
