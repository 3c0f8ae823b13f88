"""Which engine runs a study, by the name that --engine gives it."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pliant.execution.engine import Engine
    from pliant.records.numerics import Numerics
    from pliant.studies.engines import EngineChoice
    from pliant.studies.spec import StudySpec

JOBS = 16
"""Jobs in flight where --workers names no number."""
MINUTES = 120
"""A job's time limit where --slurm names none: what is not done by then goes on in the same job, put back."""


class EngineName(StrEnum):
    """Where the work is done: worker processes here, workers on a Ray cluster, jobs of a Slurm cluster, or such jobs as
    processes here."""

    local = "local"
    ray = "ray"
    slurm = "slurm"
    slurm_local = "slurm-local"


def engine_of(
    name: EngineName, spec: "StudySpec", folder: Path, *, workers: int | None, slurm: Sequence[str], address: str | None
) -> "Engine | EngineChoice":
    """The engine `name` for a study in `folder`.

    Raises:
        UserError: an option that is unknown, no value, or without effect.
    """
    from pliant.studies.engines import EngineChoice

    if name in (EngineName.local, EngineName.ray):
        if slurm:
            raise _error(f"--slurm {slurm[0]} has an effect with --engine slurm only; leave it out")
        return EngineChoice(kind="ray" if name is EngineName.ray else "local", address=address)
    if address is not None:
        raise _error(f"--address {address} has an effect with --engine ray only; leave it out")
    if workers is not None and workers < 1:
        raise _error(f"--workers is how many jobs are in flight with --engine {name}, 1 or more, got {workers}")
    from pliant.execution.clusters import LocalJobs, Slurm, parsed_options
    from pliant.execution.slurm_engine import SlurmEngine

    options, numerics = parsed_options(slurm), _numerics(spec, folder)
    _check_device(options, numerics)
    place = folder / "jobs" / name
    if name is EngineName.slurm:
        options = {"job_name": "pliant", "time": MINUTES, "cpus_per_task": numerics.threads} | options
        return SlurmEngine(
            folder=place, cluster=Slurm(options=options), workers=workers or JOBS, threads=numerics.threads
        )
    if idle := sorted(set(options) - {"time"}):
        raise _error(f"--slurm {idle[0]} has no effect with --engine slurm-local, which knows time only; leave it out")
    return SlurmEngine(
        folder=place,
        cluster=LocalJobs(minutes=options.get("time", MINUTES)),
        workers=workers or _cores(numerics),
        threads=numerics.threads,
        poll_seconds=0.2,
        state_seconds=1.0,
        lag_seconds=0.0,
    )


def _cores(numerics: "Numerics") -> int:
    import os

    return max(1, (os.cpu_count() or 1) // numerics.threads)


def _numerics(spec: "StudySpec", folder: Path) -> "Numerics":
    """The plan that the study has, or will have once its folder is made."""
    from pliant.studies.members import gather
    from pliant.studies.numerics import choose_numerics
    from pliant.studies.settling import study_of

    settled = study_of(folder)
    return settled.numerics if settled is not None else choose_numerics(spec, gather(spec, folder))


def _check_device(options: dict[str, Any], numerics: "Numerics") -> None:
    """The numerics plan is made where the study is, often on a node without a GPU; jobs keep to it."""
    asked = [name for name in ("gpus_per_node", "gpus_per_task", "gres") if name in options]
    if asked and numerics.device == "cpu":
        raise _error(
            f"--slurm {asked[0]} has no effect: the study's numerics plan is for the processor; write "
            "numerics: {device: cuda} into a new study, or leave it out"
        )


def _error(words: str) -> ValueError:
    from pliant.execution.engine import UserError

    return UserError(words)
