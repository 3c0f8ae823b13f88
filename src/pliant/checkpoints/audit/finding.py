"""One thing that an audit found."""

from dataclasses import dataclass
from typing import Literal

Check = Literal[
    "duplicate",
    "order",
    "missing-shard",
    "cut-short",
    "fetch",
    "format",
    "size",
    "dtype",
    "shape",
    "not-finite",
    "norm-outlier",
    "tokenizer",
    "config",
    "sanity-loss",
    "gap",
]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, of which checkpoints, and what it means.

    `level` error: these are not the checkpoints they are said to be, or cannot be measured. warning: look at it.
    note: said for completeness. `message` follows the names as a predicate and ends without a stop.
    """

    check: Check
    level: Level
    checkpoints: tuple[str, ...]
    message: str

    @property
    def sentence(self) -> str:
        """Names and message as one sentence."""
        return f"{named(self.checkpoints)} {self.message}.".lstrip()


MOST_NAMED = 4


def named(names: tuple[str, ...]) -> str:
    """a, b and c; of more than `MOST_NAMED` the first ones and how many more."""
    shown = (
        list(names) if len(names) <= MOST_NAMED else [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    )
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
