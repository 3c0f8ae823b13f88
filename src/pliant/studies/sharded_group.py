"""A checkpoint that several processes share: each runs the same cells on its rows of the weights, the first writes."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist

from pliant.execution.engine import Progress, UserError
from pliant.execution.store import Store
from pliant.studies.cells import CellPlan
from pliant.studies.group import GroupJob, attempt, missing, set_up, written_behind
from pliant.studies.memory import is_out_of_memory
from pliant.studies.ranks import LOOPBACK, Seat, run_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedJob:
    """The cells `todo` of `job`, each with the evaluations that it lacks: the same for every rank."""

    job: GroupJob
    todo: tuple[CellPlan, ...]


def measure_shared(job: GroupJob, todo: Sequence[CellPlan], progress: Progress) -> None:
    """Measure the cells `todo` of `job` in as many processes as its numerics plan has shards; this one stays light.

    Raises:
        UserError: as `measure_group`; or fewer accelerators than shards.
        ProcessDied: a rank died.
    """
    shards = job.numerics.shards
    assert shards is not None, "a numerics plan without shards is measured in one process"
    if job.numerics.device == "cuda" and torch.cuda.device_count() < shards:
        raise UserError(f"shards is {shards}, this machine has {torch.cuda.device_count()} GPUs; a shard takes one")
    store = Store(job.folder)
    # what another runner writes meanwhile must not make the ranks differ in what they do
    lacking = tuple(replace(cell, evaluations=tuple(missing(store, cell))) for cell in todo)
    run_ranks(measure_share, SharedJob(job=job, todo=lacking), shards, progress)


def measure_share(seat: Seat, shared: SharedJob, progress: Progress) -> None:
    """What one rank does. The first writes the records.

    Raises:
        UserError: as `measure_group`.
    """
    numerics = shared.job.numerics
    torch.set_num_threads(numerics.threads)
    meet(seat, numerics.device)
    try:
        _measure(seat, shared, progress)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"{shared.job.group.name} does not fit into memory on {numerics.device} in {seat.ranks} shards with "
            f"{numerics.evaluation_batch_tokens:,} tokens a forward pass; start a study with more shards, or with "
            "fewer tokens (--batch-tokens)"
        ) from error
    dist.destroy_process_group()


def _measure(seat: Seat, shared: SharedJob, progress: Progress) -> None:
    bench = set_up(shared.job, Store(shared.job.folder), shared.todo)
    with written_behind(shared.job) if seat.rank == 0 else nullcontext(_write_nothing) as write:
        for done, cell in enumerate(shared.todo):
            attempt(bench, cell, cell.evaluations, write)
            progress((done + 1) / len(shared.todo), {"cells": float(done + 1)})


def _write_nothing(path: Path, text: str, *, lasting: bool = True) -> None:
    """What the first rank writes is there once."""


def meet(seat: Seat, device: str) -> None:
    """Make these processes torch's default process group, with NCCL on GPUs, one each, and gloo on CPUs."""
    if device == "cuda":
        torch.cuda.set_device(seat.rank)
    else:  # all on this machine, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=dist.TCPStore(LOOPBACK, seat.port),  # type: ignore[attr-defined]
        rank=seat.rank,
        world_size=seat.ranks,
    )
