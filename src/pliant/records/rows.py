"""The rows of a table, held so that a study of a hundred thousand cells fits into memory."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import eq
from typing import Any, overload

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One record: what its study, its cell and its evaluation are called by, and the values of each row by name.

    Labels and names are common to many records, and held once.
    """

    study: Row
    labels: tuple[Row, ...]
    asked: Row
    cell: str
    evaluation: str
    weights: str
    status: str
    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def shared(self) -> tuple[Row, ...]:
        """The parts of what all its rows share but what is its own, later ones before earlier."""
        return (self.study, *self.labels, self.asked)

    def column(self, name: str) -> list[Any]:
        """The values of one of its `names`."""
        place = self.names.index(name)
        return [values[place] for values in self.values]

    def own(self) -> dict[str, Any]:
        """What its rows share with those of no other record."""
        return {
            "cell": self.cell,
            "record": f"records/{self.cell}/{self.evaluation}.json",
            "weights": self.weights,
            "status": self.status,
        }

    def common(self) -> dict[str, Any]:
        """What all its rows share."""
        together: dict[str, Any] = {}
        for part in self.shared:
            together.update(part)
        together.update(self.own())
        return together

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows, each whole."""
        together = self.common()
        for values in self.values:
            yield {**together, **dict(zip(self.names, values, strict=True))}


class Rows(Sequence[Row]):
    """The rows of `records`, made as they are asked for."""

    __slots__ = ("_ends", "records")

    def __init__(self, records: Sequence[Found]) -> None:
        self.records = records
        self._ends = list(accumulate(len(record.values) for record in records))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Row]:
        for record in self.records:
            yield from record.rows()

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...

    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        record = bisect_right(self._ends, place)
        before = self._ends[record - 1] if record else 0
        return list(self.records[record].rows())[place - before]
