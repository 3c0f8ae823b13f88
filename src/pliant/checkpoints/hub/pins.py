"""Hub listings kept with a study, so that it means the same commits whenever it is run, and can be planned offline."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.revision import HubRevision

PINS_FILE = "revisions.json"
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What a repository had when it was listed: its revisions, names without weights and why, shapes of the tensors.

    `source` is "cache" where the Hub could not be asked, so that there may be more.
    """

    revisions: tuple[HubRevision, ...]
    missing: tuple[tuple[str, str], ...] = ()
    shapes: Shapes = field(default_factory=dict)
    source: Literal["hub", "cache"] = "hub"


_PINS = TypeAdapter(dict[str, Pinned])


def read_pins(folder: Path) -> dict[str, Pinned]:
    """The listings that the study in `folder` was planned with, by source; none for a new study.

    Raises:
        CheckpointError: the file is not what pliant writes.
    """
    path = folder / PINS_FILE
    if not path.is_file():
        return {}
    try:
        return _PINS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{path} is not what pliant writes ({error.errors()[0]['msg']}); delete it to list the repositories again, "
            "at today's commits"
        ) from error


def pins_json(pins: Mapping[str, Pinned]) -> str:
    """The content of the file."""
    return json.dumps({source: asdict(pinned) for source, pinned in pins.items()}, separators=(",", ":")) + "\n"
