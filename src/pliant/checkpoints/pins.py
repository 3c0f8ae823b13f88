"""Hub listings kept with a study, so that it means the same commits whenever it is run, and can be planned offline."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.revision import HubFile, HubRevision

PINS_FILE = "revisions.json"
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What a repository had when it was listed: its revisions, names without weights and why, shapes of the tensors."""

    revisions: tuple[HubRevision, ...]
    missing: tuple[tuple[str, str], ...] = ()
    shapes: Shapes = field(default_factory=dict)


def read_pins(folder: Path) -> dict[str, Pinned]:
    """The listings that the study in `folder` was planned with, by source; none for a new study.

    Raises:
        CheckpointError: the file is not what pliant writes.
    """
    path = folder / PINS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {source: _pinned(entry) for source, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); delete it to list the repositories again, at today's commits"
        ) from error


def pins_json(pins: Mapping[str, Pinned]) -> str:
    """The content of the file."""
    return json.dumps({source: asdict(pinned) for source, pinned in pins.items()}, separators=(",", ":")) + "\n"


def _pinned(entry: dict[str, list[object]]) -> Pinned:
    return Pinned(
        revisions=tuple(_revision(one) for one in entry["revisions"]),  # type: ignore[arg-type]
        missing=tuple((str(name), str(why)) for name, why in entry["missing"]),  # type: ignore[misc]
        shapes={name: tuple(shape) for name, shape in entry["shapes"].items()},  # type: ignore[attr-defined]
    )


def _revision(entry: dict[str, object]) -> HubRevision:
    files = tuple(HubFile(**file) for file in entry["files"])  # type: ignore[attr-defined]
    return HubRevision(repo=str(entry["repo"]), revision=str(entry["revision"]), commit=str(entry["commit"]), files=files)
