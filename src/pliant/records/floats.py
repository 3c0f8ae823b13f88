"""A fixed row of floats in eight bytes each: a tuple of them takes four times that, and a study has millions."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload


class Floats(Sequence[float]):
    """Reads like a tuple of floats, and equals the tuple of the same ones."""

    __slots__ = ("_values",)

    def __init__(self, values: Iterable[float]) -> None:
        self._values = array("d", values)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values)

    @overload
    def __getitem__(self, index: int) -> float: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...

    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        found = self._values[index]
        return tuple(found) if isinstance(found, array) else found

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, Floats) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np

        return np.array(self._values, dtype=dtype)  # never a view: what is recorded does not change
