"""What the rows of a cell are called by: parts that many cells share, read as one mapping."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pliant.records.identity import Json

Labels = Mapping[str, Json]


@dataclass(frozen=True, slots=True, eq=False)
class Joined(Labels):
    """`parts` as one mapping; a later part overrules an earlier one."""

    parts: tuple[dict[str, Json], ...]

    def __getitem__(self, name: str) -> Json:
        for part in reversed(self.parts):
            if name in part:
                return part[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for part in self.parts for name in part})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def parts_of(labels: Labels) -> tuple[Labels, ...]:
    """The parts that labels were joined from."""
    return labels.parts if isinstance(labels, Joined) else (labels,)
