"""Pre-training text, embedded or local, as documents in train, validation and test."""

import functools
import hashlib
import itertools
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, TextIO, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

EMBEDDED = "english"
PASSAGE_CHARACTERS = 4000
_LOCAL_FORMAT = b"pliant local text 1\n"
"""Part of a local corpus's fingerprint; changes when the same files would be cut or divided differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text that lies in one split as a whole. `year` is None where the source does not tell."""

    title: str
    text: str
    split: Split
    source: str
    year: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Named text; `fingerprint` ("sha256:...") changes when a byte of it does."""

    name: str
    fingerprint: str
    read: Callable[[], Iterator[Document]]
    """Begins a new pass over all documents, in an order that never changes."""

    def documents(self, split: Split) -> Iterator[Document]:
        return (document for document in self.read() if document.split == split)


def open_corpus(name: str | Path) -> Corpus:
    """The embedded corpus "english", or local text: a `.txt` or `.jsonl` file, or a folder of them.

    A line of a `.jsonl` file is an object whose column `text` is one document (blank ones are passed over). A
    `.txt` file is cut at empty lines, else line ends, else blanks, into documents of about 4000 characters. A
    hash of its text puts a local document into its split (92 % train, 4 % validation, 4 % test), so adding a
    file never moves a document and equal documents share a split. Local files are read here, to be checked
    and fingerprinted, and again at every pass; they are never held in memory.

    Raises:
        FileNotFoundError: neither a corpus nor a path has this name.
        ValueError: another extension, not UTF-8, a line without `text`, or a split without documents.
    """
    if name == EMBEDDED:
        fingerprint, documents = _english()
        return Corpus(name=EMBEDDED, fingerprint=fingerprint, read=lambda: iter(documents))
    files = _text_files(Path(name))
    corpus = Corpus(name=str(name), fingerprint=_fingerprint(files), read=lambda: _local_documents(files))
    _check_splits(corpus)
    return corpus


def read_asset(name: str) -> bytes:
    """The decompressed content of `data/assets/NAME.jsonl.xz`."""
    return lzma.decompress(resources.files("pliant.data").joinpath("assets", f"{name}.jsonl.xz").read_bytes())


def fingerprint_of(content: bytes) -> str:
    """`content` -> "sha256:<64 hex digits>"."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@functools.cache
def _english() -> tuple[str, tuple[Document, ...]]:
    content = read_asset(EMBEDDED)
    return fingerprint_of(content), tuple(Document(**json.loads(line)) for line in content.splitlines())


def _text_files(path: Path) -> tuple[Path, ...]:
    """`path` itself, or every file below it in sorted order, hidden ones aside."""
    if not path.exists():
        raise FileNotFoundError(
            f'no corpus or path "{path}": give "{EMBEDDED}", a .txt or .jsonl file, or a folder of them'
        )
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    files = sorted(file for file in found if not _is_hidden(file.relative_to(path)))
    for file in files:
        if file.suffix not in (".txt", ".jsonl"):
            raise ValueError(f'{file}: extension "{file.suffix}", expected .txt or .jsonl; convert or move it')
    if not files:
        raise ValueError(f"{path}: no files in this folder, expected .txt or .jsonl files")
    return tuple(files)


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _fingerprint(files: tuple[Path, ...]) -> str:
    """Hash over the kind and content of the files in sorted order; their names do not matter otherwise."""
    total = hashlib.sha256(_LOCAL_FORMAT)
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256")
        total.update(f"{file.suffix} {content.hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _check_splits(corpus: Corpus) -> None:
    count = dict.fromkeys(SPLITS, 0)
    for document in corpus.read():
        count[document.split] += 1
    if not any(count.values()):
        raise ValueError(f"{corpus.name}: no text in this corpus, expected at least one document a split")
    if missing := [split for split in SPLITS if not count[split]]:
        raise ValueError(
            f"{corpus.name}: none of its {sum(count.values())} documents falls to {' or '.join(missing)}; a "
            "hash of the text gives each about 4 %, so give more text (1 MB, or 250 documents, mostly does)"
        )


def _local_documents(files: tuple[Path, ...]) -> Iterator[Document]:
    for file in files:
        texts = _passages if file.suffix == ".txt" else _jsonl_texts
        try:
            with file.open(encoding="utf-8-sig") as stream:
                for number, text in texts(stream):
                    title = f"{file.name}:{number}"
                    yield Document(title=title, text=text, split=split_of(text), source=file.name, year=None)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file}: not UTF-8 at byte offset {_first_bad_byte(file)} ({error.reason}); convert the file"
            ) from error


def split_of(text: str) -> Split:
    """The split a local document belongs to, from the SHA-256 of its text alone."""
    percent = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 100
    return "train" if percent < 92 else "validation" if percent < 96 else "test"


def _passages(stream: TextIO) -> Iterator[tuple[int, str]]:
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


def _jsonl_texts(stream: TextIO) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line that holds more than blanks."""
    for number, line in enumerate(stream, start=1):
        if line.strip() and (text := _text_column(line, f"{stream.name}, line {number}")).strip():
            yield number, text


def _text_column(line: str, place: str) -> str:
    expected = 'expected a JSON object with a string column "text"'
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON ({error.msg}), {expected}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a {type(row).__name__}, {expected}")
    if "text" not in row:
        raise ValueError(f"{place}: columns {sorted(row)}, {expected}; rename the column that holds the text")
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f'{place}: "text" is a {type(text).__name__}, {expected}')
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f'{place}: "text" holds half a surrogate pair, not a character; repair or drop the line')
    return text


def _first_bad_byte(file: Path) -> int:
    offset = 0
    with file.open("rb") as stream:
        for line in stream:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return offset + error.start
            offset += len(line)
    raise AssertionError(f"{file} changed while it was read")
