"""The weights that a study trained: which are not whole, or not those that its records were measured on."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pliant.checkpoints.about import CheckpointError, read_about
from pliant.checkpoints.folder import check_files, check_written_for
from pliant.checkpoints.weights import stored_fingerprint
from pliant.execution.fsck import Origin, Problem
from pliant.training.pretraining import state_is_whole
from pliant.training.state import OPTIMIZER_FILE, STATE_FILE, check_state

AGAIN = "it is trained again where it is needed"


def artifact_problems(folder: Path, records: Mapping[Origin, Mapping[str, str]]) -> Iterator[Problem]:
    """What is wrong below `artifacts` of the study `folder`, whose weights are all read and hashed.

    `records` has, for each ladder member, the weights that its records name, and one of these records.
    """
    artifacts = folder / "artifacts"
    there: dict[Origin, str] = {}
    for member in sorted(artifacts.glob("*/seed-*/[!.]*")):
        damage = _damage(check_member, member)
        if damage is not None:
            yield _aside(folder, "damaged weights", member, f"{damage}; {AGAIN}")
            continue
        about = read_about(member)
        there[(about.recipe, about.data, about.seed, about.tokens, about.annealed)] = str(about.weights)
        if (damage := _damage(check_state, member)) is not None:
            yield _aside(folder, "damaged state", member / OPTIMIZER_FILE, f"{damage}; {AGAIN}")
    for snapshot in sorted(artifacts.glob("snapshots/*/[!.]*")):
        if (damage := _damage(check_snapshot, snapshot)) is not None:
            yield _aside(folder, "damaged snapshot", snapshot, f"{damage}; training goes on from further back")
    yield from _mixed(folder, records, there)


def check_member(folder: Path) -> None:
    """Raises:
    CheckpointError: a file is missing or damaged, or the weights are not those that pliant.json was written for.
    """
    check_files(folder)
    about = read_about(folder)
    if about.weights is None:
        raise CheckpointError(f"{folder} has no pliant.json that names its weights")
    check_written_for(folder, about, stored_fingerprint(folder, afresh=True))


def check_snapshot(folder: Path) -> None:
    """Raises:
    ValueError, OSError: a file is missing or damaged.
    """
    check_files(folder)
    check_state(folder)
    if not state_is_whole(folder):
        raise CheckpointError(f"{folder} has no {OPTIMIZER_FILE}")
    step = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["step"]
    if folder.name != f"step-{step:09d}":
        raise CheckpointError(f"{folder / STATE_FILE} says step {step}")


def _damage(check: Callable[[Path], None], folder: Path) -> str | None:
    try:
        check(folder)
    except PermissionError:  # told with the permissions
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        return f"{error}".removeprefix(str(folder)).lstrip("/: ").split("; ")[0]
    return None


def _mixed(folder: Path, records: Mapping[Origin, Mapping[str, str]], there: Mapping[Origin, str]) -> Iterator[Problem]:
    """Records of one checkpoint that were measured on other weights than those that are there, or than the others."""
    for origin, measured in records.items():
        now = there.get(origin, next(iter(measured)))
        for weights, record in measured.items():
            if weights != now:
                what = (
                    f"measured on the weights {weights[:19]}, of which there are now {now[:19]}, as are all records of "
                    f"its kind; `pliant run {folder} --remeasure` sets them aside and measures again"
                )
                yield Problem(kind="other weights", path=record, what=what, remedy="hand")


def _aside(folder: Path, kind: str, path: Path, what: str) -> Problem:
    return Problem(kind=kind, path=path.relative_to(folder).as_posix(), what=" ".join(what.split()), remedy="aside")
