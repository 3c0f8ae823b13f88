"""A study's many small JSON files in one Parquet file, and back: the same bytes, and nothing lost at any moment."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pliant.execution.compacted import COLUMNS, COMPACTED, compacted
from pliant.execution.planned import read_plan
from pliant.execution.store import RUN_FILE, Store, StoreError
from pliant.execution.writing import write_atomically
from pliant.records.parts import part_name

ROWS = 1024
"""Files in memory at once, and a row group: what is read when one record is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What records take: files, the bytes in them, and the bytes of the blocks that the disk gives them."""

    files: int
    bytes: int
    on_disk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What was done to the records of a folder; `missing` counts planned records that are not there yet."""

    before: Size
    after: Size
    missing: int


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to take in: its cell, its name without .json, and where it lies; None: in the compacted file."""

    cell: str
    name: str
    path: str | None


def compact(folder: Path) -> Compaction:
    """Put the JSON files of `folder`'s records into `records.parquet`, beside those that are in it already.

    A file is removed after the Parquet file has been written, read back, compared and put in its place, and only if it
    is still the file that was read. Killed at any moment, every record is in one form or in both. Study folders of
    which records are missing may be compacted too: new ones will lie beside as JSON files, and both forms are read.

    Raises:
        StoreError: `folder` is no study, or a file in it is no record.
        OSError: no room on the disk; every file is still there.
    """
    store, before = Store(folder), size(folder)
    store.sweep_leftovers()
    sources = list(_sources(store))
    if any(source.path is not None for source in sources):
        temporary = folder / part_name(".parquet")
        try:
            read = _write(store, sources, temporary)
            _check(temporary, read.digest, len(sources))
            _settle(temporary, folder / COMPACTED)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _remove(read.files)
    _remove_empty(folder / "records")
    return Compaction(before=before, after=size(folder), missing=_missing(store))


def restore(folder: Path) -> Compaction:
    """Write the JSON files of `folder`'s compacted records again, then remove the Parquet file.

    Raises:
        StoreError: `folder` is no study, or nothing in it is compacted.
        OSError: no room on the disk; the Parquet file is still there.
    """
    store, before = Store(folder), size(folder)
    missing, whole = _missing(store), compacted(folder)
    if whole is None:
        raise StoreError(f"{folder} has no {COMPACTED}: its records are JSON files already")
    for cell, (_, names) in whole.names.items():
        for name in names:
            path, text = Path(_json(folder, cell, name)), whole.text(cell, name)
            assert text is not None, "the index names what is there"
            if not path.is_file():
                write_atomically(path, text, lasting=False)
    os.sync()  # once for all of them
    (folder / COMPACTED).unlink()
    return Compaction(before=before, after=size(folder), missing=missing)


def size(folder: Path) -> Size:
    """What the records of a folder take, in either form."""
    whole = folder / COMPACTED
    found = [os.stat(whole)] if whole.is_file() else []
    for cell in _entries(f"{folder}/records"):
        found += [entry.stat() for entry in _entries(cell.path)] if cell.is_dir() else []
    return Size(
        files=len(found), bytes=sum(one.st_size for one in found), on_disk=512 * sum(one.st_blocks for one in found)
    )


def _missing(store: Store) -> int:
    there, nothing = store.listing(), frozenset[str]()
    cells = read_plan(store.folder)[1]
    return sum(evaluation not in there.get(c.cell, nothing) for c in cells for evaluation in c.evaluations)


def _sources(store: Store) -> Iterator[_Source]:
    """Every file, cell by cell as they are planned, the order in which tables are read; others after them."""
    whole = compacted(store.folder)
    planned = [cell.cell for cell in read_plan(store.folder)[1]]
    for cell in dict.fromkeys((*planned, *store.cells())):
        files = [entry.name for entry in _entries(f"{store.records}/{cell}") if entry.name.endswith(".json")]
        mine = {name.removesuffix(".json"): _json(store.folder, cell, name.removesuffix(".json")) for name in files}
        held = whole.names.get(cell, (0, ()))[1] if whole is not None else ()
        for name in sorted({*mine, *held}):
            yield _Source(cell, name, mine.get(name))


@dataclass(slots=True)
class _Read:
    """What was read: the digest of all of it, and each file with what tells whether it has changed since."""

    digest: Any
    files: list[tuple[str, tuple[int, int, int]]]


def _write(store: Store, sources: Sequence[_Source], path: Path) -> _Read:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    read = _Read(digest=hashlib.sha256(), files=[])
    rest = iter(sources)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rest, ROWS)):
            rows = [_row(store, source, read) for source in some]
            for row in rows:
                read.digest.update(_told(row))
            writer.write_table(pyarrow.table(dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)), schema=schema))
    return read


_Row = tuple[str, str, str | None, str]


def _row(store: Store, source: _Source, read: _Read) -> _Row:
    if source.path is None:
        whole = compacted(store.folder)
        text = whole.text(source.cell, source.name) if whole is not None else None
        assert text is not None, "what the index names is there"
    else:
        with open(source.path, "rb") as file:
            read.files.append((source.path, _state(os.fstat(file.fileno()))))
            text = _decoded(file.read(), source.path)
    if f"{source.name}.json" == RUN_FILE:
        return source.cell, source.name, None, text
    record = store.parsed(text.encode(), store.path(source.cell, source.name))
    return source.cell, source.name, str(record["weights"]), text


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not a record ({error}); delete it and run the study again") from error


def _told(row: _Row) -> bytes:
    return "\0".join(part or "" for part in row).encode() + b"\0"


def _check(path: Path, digest: Any, rows: int) -> None:
    """Read `path` back and compare.

    Raises:
        StoreError: it does not hold what was read.
    """
    import pyarrow.parquet

    found, count = hashlib.sha256(), 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS):
            columns = [batch.column(name).to_pylist() for name in COLUMNS]
            for row in zip(*columns, strict=True):
                found.update(_told(row))
                count += 1
    if count != rows or found.digest() != digest.digest():
        raise StoreError(f"{path} was not written as it should be (a damaged disk?); every JSON file is still there")


def _settle(temporary: Path, path: Path) -> None:
    """Put the file in its place for good: the disk has it, and its name, before anything is removed."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(files: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Remove each file that nobody has written anew."""
    for path, state in files:
        if _state(os.stat(path)) == state:
            os.unlink(path)


def _remove_empty(records: Path) -> None:
    for cell in _entries(str(records)):
        if cell.is_dir() and not _entries(cell.path):
            os.rmdir(cell.path)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _json(folder: Path, cell: str, name: str) -> str:
    return f"{folder}/records/{cell}/{name}.json"
