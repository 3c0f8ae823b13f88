"""The launch files say what their systems and our command line understand."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pliant.cli.engines import EngineName
from pliant.execution.clusters import parsed_options

DOCS = Path(__file__).parents[2] / "docs"
FILES = [*sorted((DOCS / "launch").iterdir()), DOCS / "scaling.md"]

# docs.skypilot.co/en/latest/reference/yaml-spec.html
SKYPILOT = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "volumes", "file_mounts", "config", "setup"}
SKYPILOT_RESOURCES = {"infra", "accelerators", "cpus", "memory", "instance_type", "use_spot", "disk_size", "disk_tier"}
SKYPILOT_MOUNT = {"name", "source", "store", "mode", "persistent"}
# ray-project.github.io/kuberay/reference/api
RAY_JOB = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
RAY_HEAD = {"rayStartParams", "template"}
RAY_WORKERS = RAY_HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}


@cache
def commands(file: Path) -> list[list[str]]:
    """Every command line of ours in a file, in words."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    if file.suffix == ".md":
        text = "\n".join(re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^(?:exec |\s+entrypoint: |\s+)?(pliant \S+ .*?)(?:  #.*)?$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@cache
def our_command() -> Any:
    from pliant.cli import app

    return typer.main.get_command(app)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_in_it_is_one_of_ours(file: Path):
    assert commands(file), "a launch file runs pliant"
    for _, name, *words in commands(file):
        command = our_command().commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        for word, value in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--"):
                assert word in options, f"{file.name}: pliant {name} has no {word}"
            if word == "--engine":
                assert value in list(EngineName)
            if word == "--slurm":
                assert parsed_options([value])


def parsed(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DOCS / "launch" / name).read_text(encoding="utf-8")))


def test_skypilots_file_has_only_fields_of_its_documentation():
    (task,) = parsed("skypilot.yaml")
    assert set(task) <= SKYPILOT | {"run"}
    assert set(task["resources"]) <= SKYPILOT_RESOURCES
    for mount in task["file_mounts"].values():
        assert set(mount) <= SKYPILOT_MOUNT
        assert mount["mode"] in ("MOUNT", "COPY", "MOUNT_CACHED")


def test_the_kubernetes_file_has_only_fields_of_its_documentation_and_its_parts_fit():
    claim, job = parsed("kubernetes.yaml")
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"], "every pod writes records"
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= RAY_JOB
    cluster = job["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) <= RAY_HEAD
    assert set(workers) <= RAY_WORKERS
    for pod in (head["template"]["spec"], workers["template"]["spec"]):
        (container,) = pod["containers"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/runs"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert all(isinstance(value, str) for value in container["resources"]["limits"].values())
    assert all(isinstance(value, str) for value in head["rayStartParams"].values()), "ray start takes texts"


def test_the_slurm_file_is_a_script_whose_sbatch_lines_come_first():
    lines = (DOCS / "launch" / "slurm.sh").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    asked = [number for number, line in enumerate(lines) if line.startswith("#SBATCH --")]
    assert asked, "sbatch reads its options from comments"
    assert max(asked) < first_command, "sbatch reads no option behind the first command"
