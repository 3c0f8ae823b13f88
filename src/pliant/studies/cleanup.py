"""Which artifacts of a study, and which logs of its jobs, its records no longer need."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pliant.execution.mirrors import mirror_of
from pliant.execution.store import Store, remove_folder
from pliant.studies.group import unfinished
from pliant.studies.plan import Plan
from pliant.training.state import OPTIMIZER_FILE


def freeable(plan: Plan, *, weights: bool = False) -> dict[Path, int]:
    """Files and folders of the study's folder that can go, and the bytes of each; of a remote study also those there.

    While records are missing, nothing: training starts from them. Afterwards snapshots, optimiser states, trunk
    states that are no members, and what a cluster's jobs left; with `weights` also the weights of every member.
    """
    artifacts = plan.folder / "artifacts"
    there = Store(plan.folder).listing()
    if any(unfinished(group.cells, there) for group in plan.groups):
        return {}
    members = {group.place for group in plan.groups}
    held = _files(plan.folder)
    found = [path for path in (artifacts / "snapshots", plan.folder / "jobs") if path.is_dir()]
    for folder in sorted(path.parent for path in held if path.match("artifacts/*/seed-*/*/config.json")):
        if folder not in members or weights:
            found.append(folder)
        elif folder / OPTIMIZER_FILE in held:
            found.append(folder / OPTIMIZER_FILE)
    return {path: sum(size for file, size in held.items() if file.is_relative_to(path)) for path in found}


def _files(folder: Path) -> Mapping[Path, int]:
    """The bytes of each file of a study that may be freed, here or at the remote."""
    artifacts, jobs = folder / "artifacts", folder / "jobs"
    here = {path: path.stat().st_size for place in (artifacts, jobs) for path in place.rglob("*") if path.is_file()}
    mirror = mirror_of(artifacts)
    return here if mirror is None else {**mirror.sizes(artifacts), **here}


def free(plan: Plan, paths: Collection[Path]) -> None:
    """Delete them, at the remote of `plan` first: what were deleted here only would come back."""
    mirror = mirror_of(plan.folder)
    if mirror is not None:
        mirror.delete(paths)
    for path in paths:
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)
