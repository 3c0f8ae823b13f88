"""A fixed row of floats in eight bytes each: a tuple of them takes four times that, and a study has millions."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload


class Floats(Sequence[float]):
    """Reads like a tuple of floats, and equals the tuple of the same ones."""

    __slots__ = ("_start", "_stop", "_values")

    def __init__(self, values: Iterable[float]) -> None:
        self._values: array[float] | memoryview = array("d", values)
        self._start, self._stop = 0, len(self._values)

    @classmethod
    def part(cls, values: memoryview, start: int, stop: int) -> "Floats":
        """`values[start:stop]` of many rows in one piece of memory, of which nothing is copied."""
        found = object.__new__(cls)
        found._values, found._start, found._stop = values, start, stop
        return found

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[float]:
        return iter(self._values[self._start : self._stop])

    @overload
    def __getitem__(self, index: int) -> float: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...

    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        mine = tuple(self._values[self._start : self._stop])
        return mine[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, Floats) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np

        # never a view: what is recorded does not change
        return np.array(self._values[self._start : self._stop], dtype=dtype)
