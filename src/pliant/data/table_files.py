"""Rows of local `.jsonl`, `.jsonl.gz` and `.parquet` files, and what is wrong with such a file in a line."""

import gzip
import itertools
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from pliant.records.outside import parse_json

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
    for number, line in enumerate(_lines(stream, file), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: not JSON ({error}), {expected}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{file}, line {number}: a {type(row).__name__}, {expected}")
        yield number, row


LONGEST_LINE = 1 << 26
"""Characters of one example or document, 67 million: a longer line is held in memory whole before it can be judged."""
MOST_TIMES = 200
"""Text compresses 3 to 10 times, repeated text some 50 times; gzip can write zeros a thousandfold."""
_HARMLESS = 1 << 30
"""Characters that may come of any file, however small."""


def _lines(stream: TextIOWrapper, file: Path) -> Iterator[str]:
    """
    Raises:
        ValueError: a line, or the whole in comparison with the compressed file, is too long to be text.
    """
    most, read = max(_HARMLESS, MOST_TIMES * file.stat().st_size), 0
    while line := stream.readline(LONGEST_LINE + 1):
        read += len(line)
        if len(line) > LONGEST_LINE or read > most:
            what = f"a line of more than {LONGEST_LINE:,}" if read <= most else f"more than {most:,}"
            raise ValueError(f"{file}: {what} characters, which no text for training has; fetch it from its source")
        yield line


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
        if table.metadata.num_rows > (most := MOST_ROWS_A_BYTE * file.stat().st_size):
            raise ValueError(f"{file} claims {table.metadata.num_rows:,} rows, at most {most:,} fit into it")
        numbers = itertools.count(1)
        for group in range(table.num_row_groups):  # batches across groups would hold them all
            for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
                yield from ((number, row) for row, number in zip(batch.to_pylist(), numbers, strict=False))


MOST_ROWS_A_BYTE = 100
"""Rows that are all alike take next to nothing: beyond this a file says only how long a loop shall be."""


@contextmanager
def _parquet_in_one_line(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
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
