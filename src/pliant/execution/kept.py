"""`.table.arrow`: the records of a large study as they were read last, so that only new and changed ones are read.

A record is taken from it as long as its file has the size and the time of change that it had then, which is how git
tells what changed; `pliant fsck` reads every record. It is derived from the records and may be deleted at any time.
"""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from pliant.execution.float_lists import float_lists
from pliant.records.floats import Floats
from pliant.records.outside import is_text
from pliant.records.parts import part_name
from pliant.records.rows import Found

KEPT = ".table.arrow"
FORM = b"1"
FEWEST = 2_000
"""Records to be read that make it worth keeping them: about half a second."""
SETTLED_NS = 2_000_000_000
"""A file changed as lately as that before it was read may change again and keep its time of change."""
DIGEST_BYTES = 32
"""Of the SHA-256 of what stands before it, which ends the file: a bit that the disk lost is no measurement."""
AT_ONCE = 1 << 13
"""Records in memory in Arrow's form at once."""
Stamp = tuple[int, int]
"""When a file was changed last, in ns, and its bytes."""
_ABOUT = ("cell", "evaluation", "weights", "status")
_Texts = tuple[str, ...]
_TEXTS: _Texts = ("metric", "split", "tensor")
_WRITTEN: tuple[_Texts, ...] = (
    ("blocks", "count", "draw", "metric", "sign", "split", "tensor", "value", "linear"),
    ("blocks", "count", "draw", "linear", "metric", "sign", "split", "tensor", "value"),
)
"""The names of a row as tables have them: of measurements without `linear`, and with it. Others are not kept."""
_NONE = Floats(())


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept: for each cell where its records begin and end, for each record what `Found` holds of it."""

    cells: dict[str, tuple[int, int]]
    evaluations: Sequence[str]
    stamps: tuple[memoryview, memoryview]
    weights: Sequence[str]
    status: Sequence[str]
    names: memoryview
    ends: memoryview
    rows: Sequence[tuple[Any, ...]]

    def find(self, cell: str, evaluation: str, stamp: Stamp) -> list[tuple[str, str, _Texts, tuple[Any, ...]]]:
        """Weights, status, names and values of the record's `Found`s; none where it must be read."""
        first, last = self.cells.get(cell, (0, 0))
        changed, size = self.stamps
        return [
            (self.weights[at], self.status[at], _WRITTEN[self.names[at]], tuple(self._rows(at)))
            for at in range(first, last)
            if self.evaluations[at] == evaluation and (changed[at], size[at]) == stamp
        ]

    def _rows(self, at: int) -> Sequence[tuple[Any, ...]]:
        rows = self.rows[self.ends[at - 1] if at else 0 : self.ends[at]]
        return [_REORDERED(row) for row in rows] if self.names[at] else rows


_REORDERED = itemgetter(*map(_WRITTEN[0].index, _WRITTEN[1]))


def read_kept(folder: Path) -> Kept | None:
    """What was kept of the study in `folder`; None where nothing was, or it cannot be read."""
    path = folder / KEPT
    if not path.is_file():
        return None
    import pyarrow

    try:
        return _opened(path.read_bytes())  # not mapped into memory, as file servers replace what is mapped
    except (OSError, ValueError, LookupError, TypeError, pyarrow.ArrowException):
        return None


def _opened(content: bytes) -> Kept:
    """
    Raises:
        ValueError, LookupError, TypeError, ArrowException: it is not what `keep` writes.
    """
    import pyarrow

    streams = pyarrow.BufferReader(memoryview(content)[:-DIGEST_BYTES])
    if hashlib.sha256(memoryview(content)[:-DIGEST_BYTES]).digest() != content[-DIGEST_BYTES:]:
        raise ValueError("not what was written")
    with pyarrow.ipc.open_stream(streams) as stream:
        if (stream.schema.metadata or {}).get(b"form") != FORM:
            raise ValueError("another form")
        words: list[str | None] = stream.read_all().column("word").to_pylist()
    if not all(word is None or is_text(word) for word in words):
        raise ValueError("a text that is not for showing")
    with pyarrow.ipc.open_stream(streams) as stream:
        counts = [tuple(count) for count in stream.read_all().column("count").to_pylist()]
    with pyarrow.ipc.open_stream(streams) as stream:
        rows = [row for batch in stream for row in _rows(batch, words, counts)]
    with pyarrow.ipc.open_stream(streams) as stream:
        records = stream.read_all().combine_chunks()
    records.validate(full=True)
    numbers = {
        name: memoryview(records.column(name).to_numpy()) for name in ("cell", "changed", "size", "names", "end")
    }
    ends = [0, *numbers["end"]]
    if not {*numbers["names"]} <= {0, 1} or sorted(ends) != ends or ends[-1] != len(rows):
        raise ValueError("records without their rows")
    cells: dict[str, tuple[int, int]] = {}
    for at, word in enumerate(numbers["cell"]):
        cell = str(words[word])
        cells[cell] = (cells[cell][0] if cell in cells else at, at + 1)
    return Kept(
        cells=cells,
        evaluations=[str(words[word]) for word in records.column("evaluation").to_pylist()],
        stamps=(numbers["changed"], numbers["size"]),
        weights=[str(words[word]) for word in records.column("weights").to_pylist()],
        status=[str(words[word]) for word in records.column("status").to_pylist()],
        names=numbers["names"],
        ends=numbers["end"],
        rows=rows,
    )


def _rows(batch: Any, words: Sequence[str | None], counts: Sequence[tuple[int, ...]]) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch, their values in the first order of `_WRITTEN`."""
    batch.validate(full=True)
    columns: dict[str, Iterable[Any]] = {"value": batch.column("value").to_pylist()}
    for name in ("draw", "sign"):
        columns[name] = batch.column(name).to_pylist()
    for name in _TEXTS:
        columns[name] = [words[word] for word in batch.column(name).to_pylist()]
    columns["count"] = [counts[count] for count in batch.column("count").to_pylist()]
    for name in ("blocks", "linear"):
        lists = batch.column(name)
        flat = memoryview(lists.values.to_numpy())
        ends = lists.offsets.to_pylist()
        columns[name] = [Floats.part(flat, a, b) if b > a else _NONE for a, b in itertools.pairwise(ends)]
    yield from zip(*map(columns.__getitem__, _WRITTEN[0]), strict=True)


def keep(folder: Path, found: Sequence[tuple[Found, Stamp | None]], since_ns: int) -> None:
    """Write the records of `found`, those of a cell side by side; nothing where there is no room for it, or no right.

    `since_ns` is when reading them began: files that were changed only just before may still change.
    """
    unfit = {(record.cell, record.evaluation) for record, _ in found if record.names not in _WRITTEN}
    settled = [
        (record, stamp)
        for record, stamp in found
        if stamp is not None and stamp[0] + SETTLED_NS < since_ns and (record.cell, record.evaluation) not in unfit
    ]
    temporary = folder / part_name(".arrow")
    try:
        _write(temporary, settled)
        with open(temporary, "rb+") as file:
            file.write(hashlib.file_digest(file, "sha256").digest())
        os.replace(temporary, folder / KEPT)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write(path: Path, found: Sequence[tuple[Found, Stamp]]) -> None:
    """Four Arrow streams: words, counts of blocks, rows, and records, which say where their rows end."""
    import pyarrow

    words: dict[str | None, int] = {}
    counts: dict[tuple[int, ...], int] = {}
    for record, _ in found:
        for word in (record.cell, record.evaluation, record.weights, record.status):
            words.setdefault(word, len(words))
        for name in _TEXTS:
            for word in record.column(name):
                words.setdefault(word, len(words))
        for count in record.column("count"):
            counts.setdefault(count, len(counts))
    with pyarrow.OSFile(str(path), "wb") as file:
        schema = pyarrow.schema([("word", pyarrow.string())], metadata={"form": FORM})
        with pyarrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(pyarrow.table({"word": list(words)}, schema=schema))
        schema = pyarrow.schema([("count", pyarrow.list_(pyarrow.int64()))])
        with pyarrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(pyarrow.table({"count": list(counts)}, schema=schema))
        schema = _rows_schema()
        with pyarrow.ipc.new_stream(file, schema) as stream:
            records = iter(found)
            while some := [record for record, _ in itertools.islice(records, AT_ONCE)]:
                columns = {name: _column(some, name, words, counts) for name in schema.names}
                stream.write_table(pyarrow.table(columns, schema=schema))
        columns = {name: [words[getattr(one, name)] for one, _ in found] for name in _ABOUT}
        columns["changed"] = [stamp[0] for _, stamp in found]
        columns["size"] = [stamp[1] for _, stamp in found]
        columns["names"] = [_WRITTEN.index(one.names) for one, _ in found]
        columns["end"] = list(itertools.accumulate(len(one.values) for one, _ in found))
        table = pyarrow.table({name: pyarrow.array(of, type=pyarrow.int64()) for name, of in columns.items()})
        with pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def _rows_schema() -> Any:
    import pyarrow

    lists, whole = pyarrow.list_(pyarrow.float64()), pyarrow.int64()
    kinds = {"blocks": lists, "linear": lists, "value": pyarrow.float64()}
    return pyarrow.schema([(name, kinds.get(name, whole)) for name in _WRITTEN[0]])


def _column(
    some: Sequence[Found], name: str, words: Mapping[str | None, int], counts: Mapping[tuple[int, ...], int]
) -> Any:
    import pyarrow

    values: list[Any] = [value for record in some for value in record.column(name)]
    if name in ("blocks", "linear"):
        return float_lists(values, pyarrow.list_(pyarrow.float64()))
    if name in _TEXTS:
        values = [words[value] for value in values]
    elif name == "count":
        values = [counts[value] for value in values]
    return pyarrow.array(values)
