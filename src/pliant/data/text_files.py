"""Local text files: their formats, their documents one at a time, and what is wrong with them in a line."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

from pliant.data.table_files import jsonl_rows, opened_text, parquet_columns, parquet_rows

PASSAGE_CHARACTERS = 4000
EXTENSIONS = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
TEXT = "text"
"""The column that holds the documents unless another is named."""
_FORMAT = b"pliant local text 1\n"
"""Part of a local corpus's fingerprint; changes when the same files would be cut or divided differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFiles:
    """A file or a folder of files; `column` holds the documents of `.jsonl` and `.parquet`."""

    path: str
    column: str = TEXT

    def __str__(self) -> str:
        return self.path


def known_files() -> str:
    return f"{', '.join(EXTENSIONS[:-1])} or {EXTENSIONS[-1]}"


def text_files(path: Path) -> tuple[Path, ...]:
    """`path` itself, or every file below it in sorted order, hidden ones aside.

    Raises:
        ValueError: an extension that is not known, or no files.
    """
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    files = sorted(file for file in found if not _is_hidden(file.relative_to(path)))
    for file in files:
        if _extension(file) is None:
            raise ValueError(f'{file}: extension "{file.suffix}", expected {known_files()}; convert or move it')
    if not files:
        raise ValueError(f"{path}: no files in this folder, expected {known_files()} files")
    return tuple(files)


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _extension(file: Path) -> str | None:
    return next((extension for extension in EXTENSIONS if file.name.endswith(extension)), None)


def fingerprint_of_files(files: Iterable[Path], column: str = TEXT) -> str:
    """Hash over the kind and content of the files in sorted order; their names do not matter otherwise."""
    total = hashlib.sha256(_FORMAT)
    if column != TEXT:
        total.update(f"column {column}\n".encode())
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256")
        total.update(f"{_extension(file)} {content.hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def texts_of(file: Path, column: str) -> Iterator[tuple[int, str]]:
    """(number, text) of each document; the number is that of the passage, the line, or the row.

    Raises:
        ValueError: not UTF-8, not what its extension says, or a row without text in `column`.
    """
    if _extension(file) == ".parquet":
        yield from _parquet_texts(file, column)
        return
    with opened_text(file) as stream:
        yield from _passages(stream) if _extension(file) == ".txt" else _jsonl_texts(stream, file, column)


def _passages(stream: TextIOWrapper) -> Iterator[tuple[int, str]]:
    """(number, passage): cut where the last half of 4000 characters has its best boundary."""
    numbers = itertools.count(1)
    rest = ""
    while chunk := stream.read(1 << 20):
        rest += chunk
        while len(rest) > PASSAGE_CHARACTERS:
            cut = _boundary(rest)
            if passage := rest[:cut].strip():
                yield next(numbers), passage
            rest = rest[cut:]
    if passage := rest.strip():
        yield next(numbers), passage


def _boundary(text: str) -> int:
    low, high = PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS
    for mark in ("\n\n", "\n", " "):
        if (at := text.rfind(mark, low, high)) >= 0:
            return at + len(mark)
    return high


def _jsonl_texts(stream: TextIOWrapper, file: Path, column: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line that holds more than blanks."""
    for number, row in jsonl_rows(stream, file, f'expected a JSON object with a string column "{column}"'):
        if (text := _text_column(row, f"{file}, line {number}", column)).strip():
            yield number, text


def _text_column(row: dict[str, Any], place: str, column: str) -> str:
    if column not in row:
        raise ValueError(f"{place}: {no_column(column, row)}")
    return checked_text(row[column], place, column)


def no_column(column: str, columns: Iterable[str], place: Literal["path", "dataset"] = "path") -> str:
    """What is said of a table whose columns are not the one asked for."""
    return (
        f'columns {sorted(columns)}, expected a string column "{column}"; name the one that holds the text, '
        f"such as corpus: {{{place}: ..., column: content}}"
    )


def checked_text(text: object, place: str, column: str) -> str:
    """`text` if it is a string of whole characters.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(text, str):
        raise ValueError(f'{place}: "{column}" is a {type(text).__name__}, expected a string column "{column}"')
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f'{place}: "{column}" holds half a surrogate pair, not a character; repair or drop the line')
    return text


def _parquet_texts(file: Path, column: str) -> Iterator[tuple[int, str]]:
    """(row number, text) of every row that holds more than blanks, read batch by batch, this column only."""
    names = parquet_columns(file)
    if column not in names:
        raise ValueError(f"{file}: {no_column(column, names)}")
    for number, row in parquet_rows(file, [column]):
        if (text := checked_text(row[column], f"{file}, row {number}", column)).strip():
            yield number, text
