"""What a worker does: train a segment of a ladder, or measure the cells of one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pliant.execution.engine import Progress, UserError
from pliant.execution.mirror import Mirror
from pliant.execution.store import StoreError
from pliant.execution.writing import naming_what_stops_writing
from pliant.records.identity import digest
from pliant.records.numerics import Numerics
from pliant.studies.downloads import FetchJob, fetch_or_release
from pliant.studies.group import GroupJob, measure_group
from pliant.studies.ladder import Ladder, PlannedSegment
from pliant.studies.materials import MaterialSpec, open_materials
from pliant.studies.remote_work import bring_group, bring_segment
from pliant.training.pretraining import Run, run_segment, state_is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Train one segment; of a remote study its `mirror` takes it there."""

    planned: PlannedSegment
    ladder: Ladder
    materials: MaterialSpec
    scratch: Path
    snapshot_seconds: float
    mirror: Mirror | None = None


def perform(job: SegmentJob | GroupJob | FetchJob, progress: Progress) -> None:
    """Do `job`; what is finished already is not done again.

    Raises:
        UserError: bad input, changed weights, or nothing can be written; everything written before stays.
    """
    if isinstance(job, FetchJob):
        fetch_or_release(job, progress)
        return
    torch.set_num_threads(_numerics(job).threads)
    try:
        with naming_what_stops_writing(job_folder(job)):
            _train(job, progress) if isinstance(job, SegmentJob) else _measure(job, progress)
    except StoreError as error:
        raise UserError(str(error)) from error


def job_folder(job: SegmentJob | GroupJob) -> Path:
    return job.planned.out if isinstance(job, SegmentJob) else job.folder


def _numerics(job: SegmentJob | GroupJob) -> Numerics:
    return job.ladder.numerics if isinstance(job, SegmentJob) else job.numerics


def _measure(job: GroupJob, progress: Progress) -> None:
    measure_group(job if job.mirror is None else bring_group(job, job.mirror), progress)


def _train(job: SegmentJob, progress: Progress) -> None:
    if job.mirror is None:
        _train_here(job, progress)
        return
    brought = bring_segment(job, job.mirror)
    _train_here(brought, progress)
    assert brought.mirror is not None, "a remote study's job is brought to a mirror"
    brought.mirror.push_folder(brought.planned.out)


def _train_here(job: SegmentJob, progress: Progress) -> None:
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
