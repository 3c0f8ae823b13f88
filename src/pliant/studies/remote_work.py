"""A job of a remote study on the machine that does it: its folders there, and what it rests on fetched."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pliant.execution.mirror import Mirror
from pliant.execution.mirrors import here
from pliant.execution.store import Store
from pliant.modifications.merge import Parts
from pliant.studies.group import GroupJob, missing

if TYPE_CHECKING:
    from pliant.studies.work import SegmentJob

Move = Callable[[Path], Path]


def bring_group(job: GroupJob, mirror: Mirror) -> GroupJob:
    """`job` with the folders of this machine; records that others have pushed meanwhile and the weights are fetched."""
    mine = here(mirror)
    moved = _moved_group(job, mine, _move(mirror, mine))
    records = Store(moved.folder).records
    cells = {cell.key for cell in moved.group.cells}
    mine.push(path for path in mine.unpushed() if path.parent.name in cells)  # of an attempt that ended before that
    mine.fetch(records, lambda place: place.parent.name in cells)
    todo = [cell for cell in moved.group.cells if missing(Store(moved.folder), cell)]
    for place in moved.group.places(todo):
        _fetch(mine, place)
    return moved


def bring_segment(job: "SegmentJob", mirror: Mirror) -> "SegmentJob":
    """`job` with the folders of this machine; the state that it begins from, or what it makes, is fetched."""
    mine = here(mirror)
    moved = _moved_segment(job, mine, _move(mirror, mine))
    _fetch(mine, moved.planned.out)
    if not moved.planned.out.is_dir() and moved.planned.begin_from is not None:
        _fetch(mine, moved.planned.begin_from)
    return moved


def _fetch(mirror: Mirror, place: Path) -> None:
    if place.is_relative_to(mirror.folder):  # checkpoints from outside lie elsewhere
        mirror.fetch_folder(place)


def _move(theirs: Mirror, mine: Mirror) -> Move:
    def move(path: Path) -> Path:
        return mine.folder / path.relative_to(theirs.folder) if path.is_relative_to(theirs.folder) else path

    return move


def _moved_group(job: GroupJob, mine: Mirror, move: Move) -> GroupJob:
    def parts(given: Parts) -> Parts:
        return tuple(replace(part, folder=move(part.folder)) for part in given)

    group = replace(
        job.group,
        parts=parts(job.group.parts),
        partners={name: parts(given) for name, given in job.group.partners.items()},
        first=None if job.group.first is None else move(job.group.first),
    )
    return replace(job, group=group, folder=move(job.folder), mirror=mine)


def _moved_segment(job: "SegmentJob", mine: Mirror, move: Move) -> "SegmentJob":
    planned = replace(
        job.planned,
        out=move(job.planned.out),
        begin_from=None if job.planned.begin_from is None else move(job.planned.begin_from),
    )
    return replace(job, planned=planned, scratch=move(job.scratch), mirror=mine)
