"""Which engine a study runs on, what its workers take, and what is said where that cannot be had."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pliant.execution import ray_cluster
from pliant.execution.engine import UserError
from pliant.execution.ray_cluster import joined
from pliant.execution.ray_worker import Driver, Worker
from pliant.execution.resources import Resources
from pliant.records.identity import identity
from pliant.studies import engines
from pliant.studies.cells import CellPlan
from pliant.studies.engines import EngineChoice, check_folders, ray_engine
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, to_yaml
from tiny_studies import cells, is_one_line, tiny


def asked(resources: dict[str, Any] | None = None, **numerics: Any) -> StudySpec:
    return tiny({"resources": resources, "numerics": numerics})


def wanted(spec: StudySpec) -> Resources:
    return ray_engine(spec, None, None, []).resources


def test_a_worker_takes_its_threads_and_a_gpu_where_the_plan_is_for_one():
    assert wanted(asked(threads=3)).amounts == {"CPU": 3.0}
    assert wanted(asked(device="cuda")).amounts == {"CPU": 1.0, "GPU": 1.0}
    given = {"cpus": 2, "gpus": 0.5, "memory": "16GB", "custom": {"a100": 1}}
    assert wanted(asked(given, device="cuda")).amounts == {"CPU": 2.0, "GPU": 0.5, "memory": 16e9, "a100": 1.0}
    assert wanted(asked({"gpus": 0}, device="cuda")).amounts == {"CPU": 1.0}


def test_how_many_workers_a_node_takes():
    node = {"CPU": 8.0, "GPU": 2.0, "memory": 64e9, "node:192.0.2.1": 1.0}
    assert Resources().fit_into(node) == 8
    assert Resources(cpus=1, gpus=0.5).fit_into(node) == 4
    assert Resources(cpus=3, memory=10**10).fit_into(node) == 2
    assert Resources(custom={"tpu": 1}).fit_into(node) == 0


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpus": -1}, "cpus must be a number from 0 on, got -1"),
        ({"gpus": 1.5}, "gpus must be a whole number or less than 1, got 1.5"),
        ({"memory": "much"}, "'much' is not a size; write one such as 60GB"),
        ({"cpus": 0}, "a worker must take something"),
        ({"custom": {"GPU": 1}}, "custom names GPU, which Ray has a meaning for; write gpus instead"),
        ({"cpu": 1}, "unknown key resources.cpu; did you mean cpus?"),
    ],
)
def test_resources_that_cannot_be(resources: dict[str, Any], message: str):
    with pytest.raises(SpecError) as raised:
        asked(resources)
    assert message in str(raised.value)
    assert is_one_line(str(raised.value))


def test_resources_are_written_and_read_and_are_no_identity(tmp_path: Path):
    given = asked({"gpus": 0.5, "memory": "2GB", "custom": {"a100": 1}})
    assert parse_study(to_yaml(given), "again").resources == given.resources
    assert identity(Resources(cpus=2, gpus=1)) == {}

    def names(planned: dict[str, CellPlan]) -> list[str]:
        return [cell.key for cell in planned.values()]

    assert names(cells(given, tmp_path / "a")) == names(cells(asked(), tmp_path / "b"))


def test_a_worker_looks_for_the_study_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "SHARED_SECONDS", 0.0)
    (tmp_path / "study.yaml").write_text("study: mine")
    spec = tiny()
    check = ray_engine(spec, None, None, [tmp_path]).check
    assert check is not None
    check()
    os.utime(tmp_path / "study.yaml", (1e9, 1e9))  # another machine's folder of the same name, from earlier
    with pytest.raises(UserError, match="is not to be seen from there; put it on a file system that every node has"):
        check()
    with pytest.raises(UserError, match="is not to be seen"):
        check_folders({str(tmp_path / "nowhere"): 0.0})


def perform(payload: Any, progress: Any) -> None:
    pass


@pytest.mark.parametrize(("field", "value"), [("pliant", "0.0.1"), ("python", "3.1.4")])
def test_a_worker_of_another_version_says_so(field: str, value: str, monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    import ray

    class Context:
        def get_node_id(self) -> str:
            return "a node"

    monkeypatch.setattr(ray, "get_runtime_context", Context)
    driver = Driver.here(perform, None)
    assert Worker().hello(driver).misfit == ""
    misfit = Worker().hello(replace(driver, **{field: value})).misfit
    assert f"{field if field == 'pliant' else 'Python'} {value}" in misfit
    assert misfit.endswith("install the same on every node")
    assert is_one_line(misfit)
    unseen = Driver.here(perform, partial(check_folders, {"/nowhere": 0.0}))
    monkeypatch.setattr(engines, "SHARED_SECONDS", 0.0)
    assert "the study folder /nowhere is not to be seen" in Worker().hello(unseen).misfit


def test_options_without_effect():
    with pytest.raises(SpecError, match="--address auto has an effect with --engine ray only"):
        EngineChoice(address="auto")
    with pytest.raises(SpecError, match=r"--workers 0 .* is for --engine local"):
        ray_engine(tiny(), None, 0, [])


def test_no_ray_is_one_line_that_names_the_package(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(ray_cluster.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'pliant\[ray\]'$"):
        ray_cluster.import_ray()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"no Ray cluster to join at 127.0.0.1:1 \(.*refused\); `ray start --head` starts one"),
        ("nonsense", r"no Ray cluster to join at nonsense \(Invalid address format: nonsense\)"),
    ],
)
def test_where_no_cluster_is(address: str, message: str):
    with pytest.raises(UserError, match=message) as raised, joined(address, workers=None, resources=Resources()):
        pass
    assert is_one_line(str(raised.value))
