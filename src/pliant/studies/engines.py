"""Which engine runs a study, and with how many workers."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pliant.execution.engine import Engine, UserError
from pliant.execution.local import LocalEngine, SerialEngine
from pliant.execution.mirrors import mirror_of
from pliant.execution.ray_cluster import joined
from pliant.execution.ray_engine import RayEngine
from pliant.execution.resources import Resources
from pliant.studies.plan import Plan
from pliant.studies.settling import STUDY_FILE
from pliant.studies.spec import SpecError, StudySpec

EngineKind = Literal["local", "ray"]
CLOCK_SECONDS = 2.0
"""Some file systems keep times to the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Worker processes on this machine, or workers on a Ray cluster and its address; see `ray_cluster.joined`."""

    kind: EngineKind = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "local" and self.address is not None:
            raise SpecError(f"--address {self.address} has an effect with --engine ray only; add that, or leave it out")


HERE = EngineChoice()


@contextlib.contextmanager
def opened(chosen: Engine | EngineChoice, plans: Sequence[Plan], workers: int | None) -> Iterator[tuple[Engine, int]]:
    """The engine for `plans`, whose folders are there, and about how many tasks it works on at once.

    Raises:
        UserError: it cannot be had.
    """
    spec = plans[0].spec
    if not isinstance(chosen, EngineChoice):
        yield chosen, getattr(chosen, "workers", None) or 1
    elif chosen.kind == "local":
        engine = default_engine(spec, workers)
        yield engine, getattr(engine, "workers", 1)
    else:
        on_ray = ray_engine(spec, chosen.address, workers, [plan.folder for plan in plans])
        with joined(chosen.address, workers=workers, resources=on_ray.resources) as cluster:
            yield on_ray, max(1, workers or cluster.room(on_ray.resources))


def default_engine(spec: StudySpec, workers: int | None = None) -> Engine:
    """Worker processes for this machine's cores, `numerics.threads` each; one worker where there is an accelerator."""
    numerics = spec.numerics
    cores = 1 if numerics.device != "cpu" else (os.cpu_count() or 1) // (numerics.threads * (numerics.shards or 1))
    count = workers if workers is not None else max(1, cores)
    return LocalEngine(workers=count, threads=spec.numerics.threads) if count > 0 else SerialEngine()


def ray_engine(spec: StudySpec, address: str | None, workers: int | None, folders: Sequence[Path]) -> RayEngine:
    """Workers of `numerics.threads` processors, and a GPU each where the plan is for one, unless the study says
    otherwise.

    Raises:
        SpecError: no worker at all is asked for.
    """
    if workers == 0:
        raise SpecError("--workers 0 (in this process) is for --engine local; give 1 or more, or leave it out")
    asked, threads = spec.resources or Resources(), spec.numerics.threads
    shards = spec.numerics.shards or 1
    cpus = float(threads * shards) if asked.cpus is None else asked.cpus
    gpus = float(shards * (spec.numerics.device == "cuda")) if asked.gpus is None else asked.gpus
    # a worker makes its own mirror of a study that is remote
    shared = [folder for folder in folders if mirror_of(folder) is None]
    written = {str(folder): (folder / STUDY_FILE).stat().st_mtime for folder in shared}
    return RayEngine(
        address=address,
        workers=workers,
        resources=replace(asked, cpus=cpus, gpus=gpus),
        threads=threads,
        check=partial(check_folders, written),
    )


SHARED_SECONDS = 10.0
"""A network file system may show what another machine wrote only after some seconds."""


def check_folders(written: dict[str, float]) -> None:
    """Made where a worker is: each folder must be the one whose study.yaml was written at the given time, or later.

    Raises:
        UserError: it is not there, or another of the same name.
    """
    until = time.monotonic() + SHARED_SECONDS
    for folder, when in written.items():
        while not _is_there(Path(folder) / STUDY_FILE, when):
            if time.monotonic() > until:
                raise UserError(
                    f"the study folder {folder} is not to be seen from there; put it on a file system that every node "
                    "has at the same place"
                )
            time.sleep(0.5)


def _is_there(file: Path, when: float) -> bool:
    try:
        return file.stat().st_mtime >= when - CLOCK_SECONDS
    except OSError:
        return False
