"""Which artifacts of a study its records no longer need."""

from collections.abc import Iterable
from pathlib import Path

from pliant.execution.store import Store, remove_folder
from pliant.studies.group import unfinished
from pliant.studies.plan import Plan
from pliant.training.state import OPTIMIZER_FILE


def freeable(plan: Plan, *, weights: bool = False) -> list[Path]:
    """Files and folders below `artifacts` that can go.

    While records are missing, nothing: training starts from them. Afterwards snapshots, optimiser states, and trunk
    states that are no members; with `weights` also the weights of every member.
    """
    artifacts = plan.folder / "artifacts"
    there = Store(plan.folder).listing()
    if any(unfinished(group.cells, there) for group in plan.groups):
        return []
    members = {group.place for group in plan.groups}
    found = [path for path in [artifacts / "snapshots"] if path.is_dir()]
    for folder in sorted(path.parent for path in artifacts.glob("*/seed-*/*/config.json")):
        if folder not in members or weights:
            found.append(folder)
        elif (folder / OPTIMIZER_FILE).is_file():
            found.append(folder / OPTIMIZER_FILE)
    return found


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def free(paths: Iterable[Path]) -> None:
    """Delete them."""
    for path in paths:
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink()
