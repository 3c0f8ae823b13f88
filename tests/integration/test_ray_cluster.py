"""A cluster of several raylets on this host while workers, nodes and the driver die: nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pliant.execution import ray_engine
from pliant.execution.engine import Event, Task, UserError
from pliant.execution.ray_cluster import Cluster, joined
from pliant.execution.ray_engine import RayEngine
from pliant.execution.resources import Resources
from pliant.studies.spec import StudySpec
from ray_nodes import Nodes, nodes
from sleepers import ELSEWHERE, SLOW, check_place, duplicated, groups, lost, measure, quiet, said
from tiny_studies import is_one_line, record_files, run, tiny

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
TESTS = HERE.parent
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """A head that does no work."""
    with nodes(seen=[TESTS], num_cpus=0) as holder:
        yield holder


@pytest.fixture(scope="module")
def connected(cluster: Nodes) -> Iterator[Cluster]:
    with joined(cluster.address, workers=None, resources=Resources()) as found:
        yield found


@pytest.fixture
def add(cluster: Nodes, connected: Cluster) -> Iterator[Callable[..., str]]:
    """Nodes that join, and go after the test."""
    ours: list[str] = []

    def one(cpus: int = 1, **variables: str) -> str:
        ours.append(cluster.add(num_cpus=cpus, env_vars=variables))
        return ours[-1]

    yield one
    ray = connected.ray
    assert wait_until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources().get("CPU"))
    for node in ours:
        if node in connected.alive():
            cluster.kill(node)
    assert wait_until(lambda: len(connected.alive()) == 1)


def wait_until(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.1)
    return holds()


@dataclass
class Strike:
    """An observer that does something once so many records are there."""

    folder: Path
    records: int
    act: Callable[[], Any]
    struck: bool = False
    heard: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if not self.struck and len(said(self.folder, "written")) >= self.records:
            self.struck = True
            self.act()


def kill_a_worker(folder: Path) -> None:
    os.kill(int(said(folder, "begun")[-1][1]), signal.SIGKILL)


def run_struck(engine: RayEngine, tasks: Sequence[Task], folder: Path, records: int, act: Callable[[], Any]) -> Strike:
    strike = Strike(folder, records, act)
    assert engine.run(tasks, measure, strike) == []
    assert strike.struck
    assert (lost(folder, tasks), duplicated(folder)) == ([], [])
    return strike


def test_a_killed_worker_process(add: Callable[..., str], tmp_path: Path):
    add(cpus=2)
    tasks = groups(tmp_path, 4, 10, 0.1)
    strike = run_struck(RayEngine(), tasks, tmp_path, 8, lambda: kill_a_worker(tmp_path))
    begun = [cell for cell, *_ in said(tmp_path, "begun")]
    assert len(begun) == len(set(begun)) + 1, "only the cell that the killed worker was busy with is begun anew"
    assert sum(event.kind == "started" for event in strike.heard) == len(tasks) + 1


def test_whole_nodes_killed_mid_group_do_not_count_against_its_task(
    cluster: Nodes, add: Callable[..., str], tmp_path: Path
):
    """Two deaths of a worker process would end the task; so would two of a node, if they counted."""
    for _ in range(3):
        add()
    tasks = groups(tmp_path, 1, 24, 0.5)
    killed: list[str] = []

    def act() -> None:
        killed.append(said(tmp_path, "begun")[-1][2])
        cluster.kill(killed[-1])

    class Twice(Strike):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if len(killed) == 1 and len(said(tmp_path, "written")) >= 10:
                act()

    strike = Twice(tmp_path, 3, act)
    assert RayEngine().run(tasks, measure, strike) == []
    assert len(set(killed)) == 2
    assert len({node for *_, node in said(tmp_path, "written")}) == 3
    assert (lost(tmp_path, tasks), duplicated(tmp_path)) == ([], [])


def test_a_slow_node_does_its_share_and_holds_nobody_up(add: Callable[..., str], tmp_path: Path):
    fast, slow = add(), add(**{SLOW: "10"})
    tasks = groups(tmp_path, 12, 3, 0.1)
    assert RayEngine().run(tasks, measure, quiet) == []
    assert (lost(tmp_path, tasks), duplicated(tmp_path)) == ([], [])
    done = [node for *_, node in said(tmp_path, "written")]
    assert done.count(fast) > 2 * done.count(slow) > 0


def test_a_node_that_joins_midway_is_given_work(add: Callable[..., str], tmp_path: Path):
    first = add()
    late: list[str] = []
    run_struck(RayEngine(), groups(tmp_path, 20, 5, 0.2), tmp_path, 5, lambda: late.append(add()))
    assert {node for *_, node in said(tmp_path, "written")} == {first, late[0]}


def test_no_more_workers_than_asked_for_and_room_for_fractions(add: Callable[..., str], tmp_path: Path):
    add(cpus=1)
    half = Resources(cpus=0.25)
    assert RayEngine(workers=3, resources=half).run(groups(tmp_path, 12, 2, 0.1), measure, quiet) == []
    assert len({process for _, process, _ in said(tmp_path, "written")}) == 3


def test_a_node_that_does_not_see_the_folder_gets_no_work(
    add: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    misfit, fit = add(**{ELSEWHERE: "1"}), add()
    assert RayEngine(check=check_place).run(groups(tmp_path, 6, 3, 0.1), measure, quiet) == []
    assert {node for *_, node in said(tmp_path, "written")} == {fit}
    assert misfit != fit
    (told,) = [record.getMessage() for record in caplog.records if "is not to be seen" in record.getMessage()]
    assert is_one_line(told)


def test_where_no_node_sees_the_folder_that_is_the_error(add: Callable[..., str], tmp_path: Path):
    add(**{ELSEWHERE: "1"})
    with pytest.raises(UserError, match="the study folder is not to be seen from there"):
        RayEngine(check=check_place).run(groups(tmp_path, 2, 1, 0.1), measure, quiet)


def test_more_than_any_node_offers(add: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    add()
    monkeypatch.setattr(ray_engine, "ROOM_SECONDS", 2.0)
    wants = Resources(cpus=1, custom={"tpu": 1})
    with pytest.raises(UserError, match=r"no node of the Ray cluster offers what a worker takes \(CPU 1, tpu 1\); ask"):
        RayEngine(resources=wants).run(groups(tmp_path, 1, 1, 0.1), measure, quiet)


DRIVER = """
import sys
from pathlib import Path
from pliant.execution.ray_engine import RayEngine
from sleepers import groups, measure, quiet
folder, address = sys.argv[1:]
sys.exit(len(RayEngine(address=address).run(groups(Path(folder), 4, 12, 0.2), measure, quiet)))
"""


def test_a_killed_driver_takes_its_workers_along_and_the_next_goes_on(
    cluster: Nodes, add: Callable[..., str], tmp_path: Path
):
    add(cpus=2)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), cluster.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        assert wait_until(lambda: len(said(tmp_path, "written")) >= 8), driver.communicate()
        driver.kill()
        driver.communicate()
    workers = {int(process) for _, process, _ in said(tmp_path, "begun")}
    assert wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in workers))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    tasks = groups(tmp_path, 4, 12, 0.2)
    assert (lost(tmp_path, tasks), duplicated(tmp_path)) == ([], [])


def larger() -> StudySpec:
    rates = [0.001 * 1.5**step for step in range(8)]
    return tiny(
        {
            "trajectories.0.ladder.seeds": [1, 2],
            "modifications.0.noise.strengths": [0.01, 0.02, 0.05, 0.1],
            "modifications.1.fine_tune.learning_rates": rates,
            "modifications.1.fine_tune.steps": 100,
        }
    )


class Watch:
    """Every state of every record: its file's number and time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[str, set[tuple[int, int]]] = {}

    def look(self) -> int:
        for path in self.folder.glob("records/*/*.json"):
            if path.name != "run.json" and not path.name.startswith(".part-"):
                state = path.stat()
                self.seen.setdefault(str(path), set()).add((state.st_ino, state.st_mtime_ns))
        return len(self.seen)


def test_a_study_on_ray_with_a_node_and_a_driver_killed_has_the_bytes_of_one_run_alone(
    cluster: Nodes, add: Callable[..., str], tmp_path: Path
):
    alone, ours = tmp_path / "alone", tmp_path / "ours"
    _, failures, _ = run(larger(), alone)
    assert failures == []
    expected = record_files(alone)
    doomed = add()
    add()
    (tmp_path / "study.yaml").write_bytes((alone / "study.yaml").read_bytes())
    command = [sys.executable, "-m", "pliant", "run", tmp_path / "study.yaml", "--out", ours, "--log", "none"]
    command += ["--engine", "ray", "--address", cluster.address, "--json"]
    watch = Watch(ours)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        assert wait_until(lambda: watch.look() >= 10), driver.communicate()
        cluster.kill(doomed)
        now = watch.look()
        assert wait_until(lambda: watch.look() >= now + 20), driver.communicate()
        driver.kill()
        driver.communicate()
    assert watch.look() < len(expected), "killed too late to show anything"
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("{"), ended.stdout
    assert watch.look() == len(expected)
    assert [name for name, states in watch.seen.items() if len(states) > 1] == []
    assert record_files(ours) == expected
