"""What a worker does: train a segment of a ladder, or measure the cells of one checkpoint."""

import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import Checkpoint, open_checkpoint
from pliant.execution.engine import Progress, UserError
from pliant.execution.store import Store, StoreError, naming_a_full_disk
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.variant import Variant, keep_base, restore
from pliant.records.identity import Json, digest
from pliant.records.numerics import Numerics
from pliant.records.record import Record
from pliant.studies.ladder import Ladder, PlannedSegment
from pliant.studies.materials import Materials, MaterialSpec, open_materials
from pliant.studies.measure import measure
from pliant.studies.plan import CellPlan, GroupPlan
from pliant.training.decoder import Forward, choose_forward
from pliant.training.pretraining import Run, run_segment, state_is_whole

ATTEMPTS = 2


class WeightsChanged(UserError):
    """A checkpoint's weights are not those that its records were measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Train one segment."""

    planned: PlannedSegment
    ladder: Ladder
    materials: MaterialSpec
    scratch: Path
    snapshot_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJob:
    """Measure the cells of one checkpoint that have records missing."""

    group: GroupPlan
    folder: Path
    numerics: Numerics


def perform(job: SegmentJob | GroupJob, progress: Progress) -> None:
    """Do `job`; what is finished already is not done again.

    Raises:
        UserError: bad input, changed weights, or no room on the disk; everything written before stays.
    """
    _limit_threads(_numerics(job).threads)
    try:
        with naming_a_full_disk(job_folder(job)):
            _train(job, progress) if isinstance(job, SegmentJob) else _measure(job, progress)
    except StoreError as error:
        raise UserError(str(error)) from error


def job_folder(job: SegmentJob | GroupJob) -> Path:
    return job.planned.out if isinstance(job, SegmentJob) else job.folder


def _numerics(job: SegmentJob | GroupJob) -> Numerics:
    return job.ladder.numerics if isinstance(job, SegmentJob) else job.numerics


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _train(job: SegmentJob, progress: Progress) -> None:
    planned = job.planned
    if planned.out.is_dir() and (state_is_whole(planned.out) or not planned.keep_optimizer):
        return
    materials = open_materials(job.materials)
    spec = job.ladder.spec
    run = Run(
        architecture=spec.architecture,
        vocabulary_size=job.ladder.vocabulary_size,
        recipe=spec.recipe,
        recipe_digest=digest(job.ladder.recipe),
        seed=planned.seed,
        numerics=job.ladder.numerics,
        bytes_per_token=materials.bytes_per_token,
    )
    try:
        run_segment(
            run,
            planned.segment,
            materials.training.source(planned.seed),
            materials.tokenizer,
            begin_from=planned.begin_from,
            out=planned.out,
            scratch=job.scratch,
            keep_optimizer=planned.keep_optimizer,
            snapshot_seconds=job.snapshot_seconds,
            progress=progress,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def _measure(job: GroupJob, progress: Progress) -> None:
    store = Store(job.folder)
    todo = [cell for cell in job.group.cells if missing(store, cell)]
    if not todo:
        return
    try:
        checkpoint = open_checkpoint(job.group.place, allow_pickle=job.group.allow_pickle)
        materials = open_materials(job.group.materials)
        _check_vocabulary(checkpoint, materials, job.group.name)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    _check_weights(store, job.group, checkpoint.weights)
    model = checkpoint.model
    model.set_attn_implementation(job.numerics.attention)
    model.to(job.numerics.device)
    base = keep_base(model)
    for done, cell in enumerate(todo):
        _attempt(job, store, cell, checkpoint, materials, base)
        progress((done + 1) / len(todo), {"cells": float(done + 1)})


def missing(store: Store, cell: CellPlan) -> list[Any]:
    """The evaluations of `cell` that have no record."""
    return [evaluation for evaluation in cell.evaluations if not store.has(cell.key, evaluation.key)]


def _check_vocabulary(checkpoint: Checkpoint, materials: Materials, name: str) -> None:
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    if materials.tokenizer.vocabulary_size > rows:
        raise CheckpointError(
            f"{name}: the tokenizer {materials.tokenizer.name} has {materials.tokenizer.vocabulary_size:,} tokens, "
            f"the model embeds {rows:,}; set tokenizer to the one the model was trained with"
        )


def _check_weights(store: Store, group: GroupPlan, weights: str) -> None:
    """Records of a ladder member are named by its recipe; the weights they were measured on must be these."""
    for cell in group.cells:
        for evaluation in cell.evaluations:
            if store.has(cell.key, evaluation.key):
                known = store.read(cell.key, evaluation.key)["weights"]
                if known != weights:
                    raise WeightsChanged(
                        f"{group.name}: its weights are {weights[:19]}, its records were measured on {known[:19]}; "
                        f"`pliant run {store.folder} --remeasure` sets those aside and measures again"
                    )


def _attempt(
    job: GroupJob,
    store: Store,
    cell: CellPlan,
    checkpoint: Checkpoint,
    materials: Materials,
    base: dict[str, Any],
) -> None:
    """Measure one cell, a second time if the first fails; how it went is in run.json either way."""
    started, begun, error, attempts = time.time(), time.monotonic(), "", 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            _write_records(job, store, cell, checkpoint, materials, base)
            error = ""
            break
        except OSError:
            raise
        except ValueError as problem:  # what the user asked cannot be had here: no second try
            error = str(problem)
            break
        except Exception as problem:  # the boundary at which a failure becomes data
            error = f"{type(problem).__name__}: {problem}"
        finally:
            restore(checkpoint.model, base)
    run: dict[str, Json] = {
        "started": started,
        "seconds": time.monotonic() - begun,
        "attempts": attempts,
        "host": platform.node(),
        "process": os.getpid(),
        "error": error,
    }
    store.write_run(cell.key, run)


def _write_records(
    job: GroupJob,
    store: Store,
    cell: CellPlan,
    checkpoint: Checkpoint,
    materials: Materials,
    base: dict[str, Any],
) -> None:
    wanted = missing(store, cell)
    found: dict[str, list[Any]] = {evaluation.key: [] for evaluation in wanted}
    details: dict[str, Json] = {}
    diverged = False
    forward = choose_forward(checkpoint.model, job.numerics.forward)
    for variant in _variants(cell, checkpoint, materials, base, forward):
        details.update(variant.details or {})
        diverged = diverged or variant.diverged
        for evaluation in wanted:
            found[evaluation.key] += measure(
                evaluation,
                variant,
                checkpoint,
                materials,
                base,
                forward,
                job.numerics.evaluation_batch_tokens,
            )
    for evaluation in wanted:
        record = Record(
            cell=cell.identity,
            evaluation=evaluation.identity,
            weights=checkpoint.weights,
            status="diverged" if diverged else "ok",
            measurements=tuple(found[evaluation.key]),
            details=details,
        )
        store.write(cell.key, evaluation.key, record)


def _variants(
    cell: CellPlan, checkpoint: Checkpoint, materials: Materials, base: dict[str, Any], forward: Forward
) -> Iterator[Variant]:
    modification = cell.modification
    if isinstance(modification, Noise):
        return noisy_variants(modification, checkpoint.model, checkpoint.about, base, cell.seed)
    if isinstance(modification, FineTune):
        return finetuned_variant(modification, checkpoint.model, materials.tasks[modification.task], cell.seed, forward)
    return iter([Variant()])


def recorded_weights(store: Store, cells: Iterable[CellPlan]) -> set[str]:
    """The fingerprints of the weights that the records of `cells` were measured on."""
    return {
        str(store.read(cell.key, evaluation.key)["weights"])
        for cell in cells
        for evaluation in cell.evaluations
        if store.has(cell.key, evaluation.key)
    }
