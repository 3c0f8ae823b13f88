"""Pre-training text, embedded or local, as documents in train, validation and test."""

import functools
import hashlib
import json
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from pliant.data.hub_text import HubText, StoredText, stored_text
from pliant.data.text_files import TextFiles, fingerprint_of_files, known_files, text_files, texts_of

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

EMBEDDED = "english"
_HUB_NAME = re.compile(r"(?P<dataset>[\w.-]+/[\w.-]+)(:(?P<name>[^:]*))?(:(?P<split>[^:]+))?")

CorpusName = str | TextFiles | HubText
"""A corpus as a study names it; a string is `english`, a path, or a Hub dataset, by `corpus_source`."""


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
    more: str = "give more text"
    """What to do where it is too short."""

    def documents(self, split: Split) -> Iterator[Document]:
        return (document for document in self.read() if document.split == split)


def corpus_source(name: CorpusName | Path) -> CorpusName:
    """What a name stands for: `english` itself, a path that is there, or a Hub dataset as
    OWNER/NAME[:CONFIGURATION[:SPLIT]].

    Raises:
        FileNotFoundError: none of them.
    """
    if name == EMBEDDED or isinstance(name, (TextFiles, HubText)):
        return str(name) if isinstance(name, Path) else name
    if Path(name).exists():
        return TextFiles(path=str(name))
    match = _HUB_NAME.fullmatch(str(name))
    if match is None or isinstance(name, Path):
        raise _nothing_there(str(name))
    return HubText(dataset=match["dataset"], name=match["name"] or None, split=match["split"])


def _nothing_there(path: str) -> FileNotFoundError:
    return FileNotFoundError(
        f'no corpus or path "{path}": give "{EMBEDDED}", a {known_files()} file, a folder of them, or a Hub dataset '
        "as OWNER/NAME:CONFIGURATION:SPLIT"
    )


def open_corpus(name: CorpusName | Path) -> Corpus:
    """The embedded corpus "english", local text (a file or a folder of them), or text of a Hub dataset.

    A line of a `.jsonl` file is an object whose column `text` is one document (blank ones are passed over), and so
    is a row of a `.parquet` file. A `.txt` file is cut at empty lines, else line ends, else blanks, into documents of
    about 4000 characters. A hash of its text puts a local document into its split (92 % train, 4 % validation, 4 %
    test), so adding a file never moves a document and equal documents share a split. Local files are read here, to
    be checked and fingerprinted, and again at every pass; they are never held in memory. Documents of a Hub split
    are divided in the same way, those of a split that is not for training between validation and test alone.

    Raises:
        FileNotFoundError: neither a corpus nor a path has this name.
        ValueError: another extension, not UTF-8, a line without `text`, or a split without documents; a Hub dataset
            that cannot be read.
    """
    source = corpus_source(name)
    if isinstance(source, HubText):
        return _hub_corpus(source, stored_text(source))
    if isinstance(source, TextFiles):
        return _local_corpus(source)
    fingerprint, documents = _english()
    return Corpus(name=EMBEDDED, fingerprint=fingerprint, read=lambda: iter(documents))


def _local_corpus(source: TextFiles) -> Corpus:
    if not Path(source.path).exists():
        raise _nothing_there(source.path)
    files = text_files(Path(source.path))
    corpus = Corpus(
        name=source.path,
        fingerprint=fingerprint_of_files(files, source.column),
        read=lambda: _local_documents(files, source.column),
    )
    _check_splits(corpus)
    return corpus


def _hub_corpus(source: HubText, stored: StoredText) -> Corpus:
    """`stored` is what makes its documents what they are, and the kind of its split how they are divided."""
    training = stored.split.startswith("train")

    def read() -> Iterator[Document]:
        for number, text in enumerate(stored.texts(), start=1):
            split = split_of(text) if training else held_out_split_of(text)
            yield Document(title=f"{source}:{number}", text=text, split=split, source=source.dataset, year=None)

    kind = b"pliant hub text 1 train " if training else b"pliant hub text 1 held out "
    return Corpus(
        name=str(source),
        fingerprint=fingerprint_of(kind + stored.fingerprint.encode()),
        read=read,
        more=f"raise documents of the corpus ({source.documents:,} now)",
    )


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


def _local_documents(files: tuple[Path, ...], column: str) -> Iterator[Document]:
    for file in files:
        for number, text in texts_of(file, column):
            title = f"{file.name}:{number}"
            yield Document(title=title, text=text, split=split_of(text), source=file.name, year=None)


def split_of(text: str) -> Split:
    """The split a local document belongs to, from the SHA-256 of its text alone."""
    percent = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 100
    return "train" if percent < 92 else "validation" if percent < 96 else "test"


def held_out_split_of(text: str) -> Split:
    """Validation or test, half of each, from the SHA-256 of the text alone."""
    return "validation" if hashlib.sha256(text.encode()).digest()[0] < 128 else "test"
