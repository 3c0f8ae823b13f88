"""Which files of a study folder go to its remote, in what order, and which come back unasked."""

import os
import re
from collections.abc import Iterable, Mapping

from pliant.checkpoints.about import ABOUT_FILE
from pliant.execution.remote import Stored

HIDDEN = ".remote"
"""What a mirror keeps for itself."""
LAST = ABOUT_FILE
"""Pushed after the other files of its folder: a checkpoint at the remote is whole if it has this."""
STAGES = 4
_ARTIFACTS = "artifacts"
_SUPERSEDED = "superseded"
_SNAPSHOTS = "snapshots"


def stage(name: str) -> int:
    """When a file is pushed: weights, what says that they are whole, the study and its numerics plan, records."""
    if is_weights(name):
        return int(os.path.basename(name) == LAST)
    return 2 if "records" not in name.split("/") else 3


def is_weights(name: str) -> bool:
    """Whether a file is part of a folder that is whole or not there, and fetched when it is needed."""
    return _ARTIFACTS in name.split("/")[:-1]


def is_fetched(name: str) -> bool:
    """Whether a file is fetched with the study: all that a report reads."""
    return not is_weights(name) and _SUPERSEDED not in name.split("/")[:-1]


def folders_of_study(inside: str, folders: Iterable[str]) -> list[str]:
    """Those of the `folders` in the folder `inside` that belong to the study: no unfinished ones, and no snapshots of
    training that goes on."""
    scratch = _SNAPSHOTS if os.path.basename(inside) == _ARTIFACTS else None
    return [name for name in folders if not name.startswith(".") and name != scratch]


def safe(there: Mapping[str, Stored]) -> dict[str, Stored]:
    """Without names that would lead out of the folder, or to what a mirror keeps for itself."""
    return {name: stored for name, stored in there.items() if not re.search(r"(^|/)(\.|/|$)|\\", name)}
