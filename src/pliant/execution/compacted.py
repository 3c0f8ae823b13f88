"""`records.parquet`: the JSON files of a finished study in one, each with its very bytes; read here."""

import os
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

COMPACTED = "records.parquet"
COLUMNS = ("cell", "name", "weights", "text")
"""One row a file of `records/<cell>/`: its name without .json, the weights of a record, and what the file held."""


class Compacted:
    """A compacted file, opened. The files of a cell are neighbours, and so are cells that are read one after another.

    `names` holds the place of a cell's first file and the names of all of them.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        metadata = self._file.metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._begins = [0, *accumulate(sizes)]
        self._group: tuple[int, list[str]] = (-1, [])
        self.names = self._index()

    def text(self, cell: str, name: str) -> str | None:
        """What the file held; None where it was not there."""
        first, names = self.names.get(cell, (0, ()))
        if name not in names:
            return None
        row = first + names.index(name)
        group = bisect_right(self._begins, row) - 1
        if self._group[0] != group:
            self._group = (group, self._column(group, "text"))
        found: str = self._group[1][row - self._begins[group]]
        return found

    def _index(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        found: dict[str, tuple[int, list[str]]] = {}
        row = 0
        for group in range(len(self._begins) - 1):
            for cell, name in zip(self._column(group, "cell"), self._column(group, "name"), strict=True):
                found.setdefault(cell, (row, []))[1].append(name)
                row += 1
        known: dict[tuple[str, ...], tuple[str, ...]] = {}  # most cells have files of the same names
        return {cell: (first, known.setdefault(tuple(names), tuple(names))) for cell, (first, names) in found.items()}

    def _column(self, group: int, name: str) -> list[Any]:
        values: list[Any] = self._file.read_row_group(group, columns=[name]).column(name).to_pylist()
        return values


def compacted(folder: str | Path) -> Compacted | None:
    """The compacted file of a study folder, opened once as long as it stays the same; None where there is none."""
    path = f"{folder}/{COMPACTED}"
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return _opened(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _opened(path: str, _changed: int, _size: int) -> Compacted:
    return Compacted(Path(path))
