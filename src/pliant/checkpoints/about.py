"""What is known of a checkpoint besides its weights: `pliant.json`."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from pliant.records.identity import Json
from pliant.records.outside import clipped, is_shown_name, parse_json
from pliant.records.units import MOST_TOKENS

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
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, or delete it to go without") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected an object, as pliant writes it")
    found = {field.name: content[field.name] for field in fields(About) if content.get(field.name) is not None}
    for name, value in found.items():
        _check(path, name, value)
    return About(**found)


_WORDS = ("recipe", "data", "weights")
_EACH_TENSOR = ("init_stds", "norms")


def _check(path: Path, name: str, value: Json) -> None:
    """
    Raises:
        CheckpointError: `value` is not what the fact `name` can be.
    """
    if name in ("tokens", "step", "seed"):
        is_right, expected = _is_number(value) and isinstance(value, int), "a whole number >= 0, below 10^18"
    elif name in _WORDS:
        is_right, expected = is_shown_name(value), "a line of text"
    elif name == "annealed":
        is_right, expected = isinstance(value, bool), "true or false"
    elif name in _EACH_TENSOR:
        for tensor, number in value.items() if isinstance(value, dict) else ():
            if not (_is_number(number) or (name == "norms" and isinstance(number, float))):  # of NaN and infinity, too
                raise CheckpointError(f"{path}: {name}[{tensor!r}] is {clipped(number)}; expected a number >= 0")
        is_right, expected = isinstance(value, dict), "an object of a number for each tensor"
    else:
        is_right, expected = _is_number(value), "a number >= 0"
    if not is_right:
        raise CheckpointError(f"{path}: {name} is {clipped(value)}; expected {expected}")


def _is_number(value: Json) -> bool:
    """At least 0, below 10^18: NaN and infinity are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS
