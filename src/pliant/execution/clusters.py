"""Where jobs run: Slurm, or processes of this machine in its stead; both through submitit."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

from pliant.execution.engine import UserError

if TYPE_CHECKING:
    from submitit import LocalJob

Given = TypeVar("Given")

REQUEUES = 100
"""A job is put back into the queue so often when its time is up; what gains nothing is given up long before."""
GRACE_SECONDS = 60.0
ANSWER_SECONDS = 120.0
ENGINES_OWN = {
    "array_parallelism": "--workers bounds the jobs in flight",
    "nodes": "a job is one process on one node",
    "ntasks_per_node": "a job is one process",
    "num_gpus": "write gpus_per_node",
    "additional_parameters": "write sbatch.NAME=VALUE",
    "stderr_to_stdout": "errors name the log of standard error",
    "dependency": "tasks are submitted when what they need has ended",
}


class SubmissionError(Exception):
    """The cluster took no jobs; its own words. It may later."""


class Cluster(Protocol):
    """What the engine asks of a cluster; jobs are named by their numbers."""

    def submit(self, folder: Path, calls: Sequence[Callable[[], None]]) -> list[str]:
        """Submit one job a call, their logs to `folder`; their numbers.

        Raises:
            SubmissionError: they were refused.
        """
        ...

    def alive(self, folder: Path, jobs: Collection[str]) -> set[str] | None:
        """Those of `jobs` that wait or run; None where that cannot be told now."""
        ...

    def cancel(self, folder: Path, jobs: Collection[str]) -> None:
        """Stop `jobs`; those that have ended already are none."""
        ...

    def last_words(self, folder: Path, job: str) -> str:
        """How a job that is not alive ended, in a few words, where that is known."""
        ...


def log_of(folder: Path, job: str) -> Path:
    """Where submitit has the standard error of a job."""
    return folder / f"{job}_0_log.err"


def parsed_options(given: Sequence[str]) -> dict[str, Any]:
    """`["partition=gpu", "time=120"]` as parameters of submitit's Slurm executor; those of `setup` make a list.

    What submitit has no name for is `sbatch.NAME=VALUE`, or `sbatch.NAME=true` for an option without a value.

    Raises:
        UserError: not name=value, an unknown name, one that the engine sets itself, or no number where one belongs.
    """
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if name.startswith("sbatch.") and equals:
            more = options.setdefault("additional_parameters", {})
            more[name.removeprefix("sbatch.")] = value == "true" or value
            continue
        _check_name(name.strip(), bool(equals), text)
        name = name.strip()
        if name in ("setup", "teardown", "srun_args"):
            options.setdefault(name, []).append(value)
        elif name in options:
            raise UserError(f"--slurm {name} is given twice; give it once")
        else:
            options[name] = _value(name, value)
    return options


def _check_name(name: str, complete: bool, text: str) -> None:
    if not complete:
        raise UserError(f"--slurm takes NAME=VALUE, such as partition=gpu, got {text!r}")
    if name in ENGINES_OWN:
        raise UserError(f"--slurm {name} cannot be set: {ENGINES_OWN[name]}")
    known = set(_defaults()) - set(ENGINES_OWN)
    if name not in known:
        raise UserError(f"--slurm knows no {name!r}; it takes {', '.join(sorted(known))}, or sbatch.{name}=VALUE")


def _value(name: str, value: str) -> Any:
    """A number where submitit computes with it, true or false for its switches, else the text as sbatch takes it."""
    if isinstance(_defaults()[name], bool) or (name == "exclusive" and value in ("true", "false")):
        if value not in ("true", "false"):
            raise UserError(f"--slurm {name} is true or false, got {value!r}")
        return value == "true"
    if isinstance(_defaults()[name], int):
        if not value.isdecimal() or int(value) < 1:
            unit = " of minutes" if name == "time" else " of seconds" if name == "signal_delay_s" else ""
            raise UserError(f"--slurm {name} is a whole number{unit}, got {value!r}")
        return int(value)
    return value


def _defaults() -> dict[str, Any]:
    """The parameters of submitit's Slurm executor with their defaults."""
    import inspect

    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = inspect.signature(_make_sbatch_string).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("command", "folder", "map_count")}


def _submitit() -> Any:
    """Raises:
    UserError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("jobs go through submitit, which is not installed: pip install 'pliant[slurm]'") from error
    return submitit


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """Slurm as its commands on this machine give it; `options` are parameters of submitit's Slurm executor."""

    options: Mapping[str, Any] = field(default_factory=dict)

    def submit(self, folder: Path, calls: Sequence[Callable[[], None]]) -> list[str]:
        """One job array; a job's environment is this process's, less what Slurm has set in it.

        Raises:
            UserError: Slurm's commands are not here.
            SubmissionError: sbatch refused.
        """
        submitit = _submitit()
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = _with_commands(lambda: submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES))
        more = {"requeue": True, **self.options.get("additional_parameters", {})}  # sites may have it off
        executor.update_parameters(**{**self.options, "additional_parameters": more, "array_parallelism": len(calls)})
        try:
            with submitit.helpers.clean_env(), executor.batch():
                jobs = [executor.submit(call) for call in calls]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise SubmissionError(" ".join(str(error).split())) from error
        return [job.job_id for job in jobs]

    def alive(self, folder: Path, jobs: Collection[str]) -> set[str] | None:
        """By squeue, which knows of a job from sbatch's answer on, and whether or not there is accounting."""
        if not jobs:
            return set()
        asked = _ask("squeue", "--me", "--noheader", "--array", "--format=%i")
        return set(jobs) & set(asked.stdout.split()) if asked.returncode == 0 else None

    def cancel(self, folder: Path, jobs: Collection[str]) -> None:
        if jobs:
            _ask("scancel", *sorted(jobs))

    def last_words(self, folder: Path, job: str) -> str:
        """Its state, such as OUT_OF_MEMORY, where Slurm keeps accounts."""
        if shutil.which("sacct") is None:
            return ""
        asked = _ask("sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={job}")
        return asked.stdout.split("\n")[0].strip() if asked.returncode == 0 else ""


def _ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """One that gives no answer has failed: it is asked again."""
    try:
        return _with_commands(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, returncode=1, stdout="", stderr="")


def _with_commands(call: Callable[[], Given]) -> Given:
    """Raises:
    UserError: a command of Slurm is not here.
    """
    try:
        return call()
    except (FileNotFoundError, RuntimeError) as error:  # submitit's is the latter
        raise UserError(
            "Slurm's commands (srun, sbatch, squeue) are not on this machine's PATH: run this on a login node, or "
            "with --engine slurm-local to try it without a cluster"
        ) from error


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalJobs:
    """Processes of this machine that outlive the driver, as a cluster's jobs do: to try that path, and to test it.

    `minutes` is the time limit of one.
    """

    minutes: float = 120.0
    signal_seconds: int = 30
    _mine: dict[str, "LocalJob[None]"] = field(default_factory=dict)

    def submit(self, folder: Path, calls: Sequence[Callable[[], None]]) -> list[str]:
        submitit = _submitit()
        executor = submitit.LocalExecutor(folder, max_num_timeout=REQUEUES)
        executor.update_parameters(timeout_min=self.minutes, signal_delay_s=self.signal_seconds)
        with executor.batch():
            jobs = [executor.submit(call) for call in calls]
        self._mine.update({job.job_id: job for job in jobs})
        return [job.job_id for job in jobs]

    def alive(self, folder: Path, jobs: Collection[str]) -> set[str]:
        for job in [number for number, job in self._mine.items() if job.state != "RUNNING"]:
            del self._mine[job]
        return {job for job in jobs if job in self._mine or _runs_for(folder, job)}

    def cancel(self, folder: Path, jobs: Collection[str]) -> None:
        """Also waits for those that are about to end."""
        for job in self.alive(folder, jobs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job), signal.SIGINT)
        until = time.monotonic() + GRACE_SECONDS
        while self.alive(folder, {*jobs, *self._mine}) and time.monotonic() < until:
            time.sleep(0.02)

    def last_words(self, folder: Path, job: str) -> str:
        return ""


def _runs_for(folder: Path, job: str) -> bool:
    """Whether the process is submitit's for this folder: numbers of processes are given again."""
    asked = subprocess.run(["ps", "-o", "stat=,args=", "-p", job], capture_output=True, text=True, check=False).stdout
    return str(folder) in asked and not asked.startswith("Z")
