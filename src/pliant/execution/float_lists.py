"""Rows of floats as Arrow holds them, without a Python object for each float."""

from collections.abc import Sequence
from itertools import chain
from typing import Any


def float_lists(values: Sequence[Sequence[float]], kind: Any) -> Any:
    """An Arrow array of lists, of the type `kind`."""
    import numpy
    import pyarrow

    ends = numpy.cumsum([0, *map(len, values)], dtype=numpy.int32)
    flat = numpy.fromiter(chain.from_iterable(values), dtype=numpy.float64, count=int(ends[-1]))
    return pyarrow.ListArray.from_arrays(ends, flat, type=kind)
