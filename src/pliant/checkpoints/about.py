"""What is known of a checkpoint besides its weights: `pliant.json`."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from pliant.records.identity import Json

ABOUT_FILE = "pliant.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: what was found, what was expected, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The facts of one checkpoint; None where unknown. Never part of the weights' identity.

    `learning_rate` is that of the last update. `init_stds` is the standard deviation of each tensor when training
    began (0 for a constant); without it noise can only be scaled relative to a tensor's own rms.
    """

    tokens: int | None = None
    step: int | None = None
    learning_rate: float | None = None
    annealed: bool | None = None
    epochs: float | None = None
    seed: int | None = None
    recipe: str | None = None
    data: str | None = None
    bytes_per_token: float | None = None
    weights: str | None = None
    init_stds: dict[str, float] | None = None
    norms: dict[str, float] | None = None

    def filled(self, other: "About") -> "About":
        """These facts, with those of `other` where these are unknown."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in known.items() if value is not None})

    def write(self, folder: Path) -> None:
        (folder / ABOUT_FILE).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def read_about(folder: Path) -> About:
    """The facts in `folder/pliant.json`, or all unknown where there is no such file.

    Raises:
        CheckpointError: the file is there and is not what pliant writes.
    """
    path = folder / ABOUT_FILE
    if not path.is_file():
        return About()
    try:
        content: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(About)}
        about = About(**{name: value for name, value in content.items() if name in known})  # type: ignore[arg-type]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, or delete it to go without") from error
    for name in ("tokens", "step", "seed"):
        if not isinstance(count := getattr(about, name), int | None):
            raise CheckpointError(f"{path}: {name} is {count!r}; expected a whole number")
    for name, std in (about.init_stds or {}).items():
        if not isinstance(std, (int, float)) or not math.isfinite(std) or std < 0:
            raise CheckpointError(f"{path}: init_stds[{name!r}] is {std!r}; expected a number >= 0")
    return about
