"""--engine and --slurm: what is understood, and one line for what is not."""

from pathlib import Path

import pytest

from pliant.cli.engines import JOBS, MINUTES, EngineName, engine_of
from pliant.execution.clusters import LocalJobs, Slurm, parsed_options
from pliant.execution.engine import UserError
from pliant.execution.slurm_engine import SlurmEngine
from pliant.studies.engines import HERE
from tiny_studies import is_one_line, tiny


def test_options_are_parsed_as_submitit_takes_them():
    given = ["partition=gpu", "time=30", "gpus_per_node=1", "mem=32GB", "exclusive=true", "comment=a=b"]
    assert parsed_options(given) == {
        "partition": "gpu",
        "time": 30,
        "gpus_per_node": "1",
        "mem": "32GB",
        "exclusive": True,
        "comment": "a=b",
    }
    assert parsed_options(["setup=module load cuda", "setup=ulimit -n 4096"]) == {
        "setup": ["module load cuda", "ulimit -n 4096"]
    }
    assert parsed_options(["sbatch.reservation=maintenance", "sbatch.contiguous=true"]) == {
        "additional_parameters": {"reservation": "maintenance", "contiguous": True}
    }
    assert parsed_options([]) == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("partition", "takes NAME=VALUE, such as partition=gpu, got 'partition'"),
        ("partitio=gpu", "knows no 'partitio'; it takes account"),
        ("time=1:00:00", "time is a whole number of minutes, got '1:00:00'"),
        ("time=0", "time is a whole number of minutes, got '0'"),
        ("use_srun=no", "use_srun is true or false, got 'no'"),
        ("nodes=2", "nodes cannot be set: a job is one process on one node"),
        ("array_parallelism=4", "array_parallelism cannot be set: --workers bounds the jobs in flight"),
        ("dependency=afterok:1", "dependency cannot be set"),
    ],
)
def test_a_bad_option_is_one_line(given: str, told: str):
    with pytest.raises(UserError) as raised:
        parsed_options([given])
    assert told in str(raised.value)
    assert is_one_line(str(raised.value))


def test_an_option_twice_is_refused():
    with pytest.raises(UserError, match="--slurm time is given twice"):
        parsed_options(["time=30", "time=60"])


def of(name: EngineName, folder: Path, *slurm: str, workers: int | None = None, **numerics: object) -> object:
    spec = tiny({"numerics": numerics} if numerics else None)
    return engine_of(name, spec, folder / "study", workers=workers, slurm=slurm, address=None)


def test_the_slurm_engine_has_what_the_study_and_the_command_line_say(tmp_path: Path):
    engine = of(EngineName.slurm, tmp_path, "partition=gpu", threads=3)
    assert isinstance(engine, SlurmEngine)
    assert (engine.workers, engine.threads, engine.folder) == (JOBS, 3, tmp_path / "study" / "jobs" / "slurm")
    assert isinstance(engine.cluster, Slurm)
    options = {"job_name": "pliant", "time": MINUTES, "cpus_per_task": 3, "partition": "gpu"}
    assert engine.cluster.options == options
    assert not (tmp_path / "study").exists(), "a study's folder is made when it runs"


def test_local_jobs_have_a_time_limit_only(tmp_path: Path):
    engine = of(EngineName.slurm_local, tmp_path, "time=5", workers=3, threads=1)
    assert isinstance(engine, SlurmEngine)
    assert isinstance(engine.cluster, LocalJobs)
    assert (engine.workers, engine.cluster.minutes) == (3, 5)
    with pytest.raises(UserError, match="--slurm partition has no effect with --engine slurm-local"):
        of(EngineName.slurm_local, tmp_path, "partition=gpu", threads=1)


def test_the_local_engine_is_the_runs_own_choice(tmp_path: Path):
    assert of(EngineName.local, tmp_path) == HERE
    with pytest.raises(UserError, match="--slurm time=5 has an effect with --engine slurm only"):
        of(EngineName.local, tmp_path, "time=5")


def test_a_gpu_that_the_study_does_not_use_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"--slurm gpus_per_node has no effect: .* write numerics: \{device: cuda\}"):
        of(EngineName.slurm, tmp_path, "gpus_per_node=1", threads=1, kernel=None)
    assert of(EngineName.slurm, tmp_path, "gpus_per_node=1", device="cuda") is not None


def test_no_job_at_all_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="--workers is how many jobs are in flight with --engine slurm, 1 or more"):
        of(EngineName.slurm, tmp_path, workers=0)
