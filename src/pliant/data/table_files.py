"""Rows of local `.jsonl`, `.jsonl.gz` and `.parquet` files, and what is wrong with such a file in a line."""

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

_ROWS = 256  # rows decoded together: memory stays bounded however large a row group is


@contextmanager
def opened_text(file: Path) -> Iterator[TextIOWrapper]:
    """The text of a UTF-8 file, decompressed where it ends in `.gz`.

    Raises:
        ValueError: while it is read: not UTF-8, or not gzip.
    """
    try:
        with _opened(file) as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8{_first_bad_byte(file)} ({error.reason}); convert the file") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{file}: not gzip, or cut short ({error}); fetch or compress it again") from error


def _opened(file: Path) -> TextIOWrapper:
    if file.suffix == ".gz":
        return TextIOWrapper(gzip.open(file), encoding="utf-8-sig")
    return file.open(encoding="utf-8-sig")


def _first_bad_byte(file: Path) -> str:
    """ " at byte offset N"; nothing where the file is compressed and an offset would help nobody."""
    if file.suffix == ".gz":
        return ""
    offset = 0
    with file.open("rb") as stream:
        for line in stream:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f" at byte offset {offset + error.start}"
            offset += len(line)
    raise AssertionError(f"{file} changed while it was read")


def jsonl_rows(stream: TextIOWrapper, file: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that holds more than blanks.

    Raises:
        ValueError: a line that is no JSON object; `expected` ends the message.
    """
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number}: not JSON ({error.msg}), {expected}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{file}, line {number}: a {type(row).__name__}, {expected}")
        yield number, row


def parquet_columns(file: Path) -> list[str]:
    """The names of its columns.

    Raises:
        ValueError: it cannot be read.
    """
    import pyarrow.parquet as pq

    with _parquet_in_one_line(file), pq.ParquetFile(file) as table:
        names: list[str] = table.schema_arrow.names
        return names


def parquet_rows(file: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, row) in order, `columns` of it only, read batch by batch.

    Raises:
        ValueError: it cannot be read.
    """
    import pyarrow.parquet as pq

    with _parquet_in_one_line(file), pq.ParquetFile(file, buffer_size=1 << 20) as table:
        numbers = itertools.count(1)
        for group in range(table.num_row_groups):  # batches across groups would hold them all
            for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
                yield from ((number, row) for row, number in zip(batch.to_pylist(), numbers, strict=False))


@contextmanager
def _parquet_in_one_line(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} cannot be read as parquet ({first}); fetch it again") from error


def rows_of(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of each row of a `.jsonl`, `.jsonl.gz` or `.parquet` file; the place is said in errors.

    Raises:
        ValueError: it cannot be read as what its extension says.
    """
    if file.suffix == ".parquet":
        for number, row in parquet_rows(file):
            yield f"{file}, row {number}", row
        return
    with opened_text(file) as stream:
        for number, row in jsonl_rows(stream, file, "expected a JSON object with named columns"):
            yield f"{file}, line {number}", row
