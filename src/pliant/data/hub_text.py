"""Text of a Hub dataset: the first documents of one split, streamed once and kept."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pliant.data.cache import whole_file
from pliant.data.text_files import TEXT
from pliant.records.identity import Json, digest
from pliant.records.places import cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class HubText:
    """The first `documents` documents of one split of a Hub dataset.

    `name` is the configuration (needed where there are several), `split` by default the first of validation, test,
    train that is there, `revision` a branch, tag or commit.
    """

    dataset: str
    name: str | None = None
    split: str | None = None
    column: str = TEXT
    documents: int = 2000
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.documents < 1:
            raise ValueError(f"documents is {self.documents}, expected at least 1")

    def __str__(self) -> str:
        parts = [self.dataset, self.name or "", self.split or ""]
        return ":".join(parts).rstrip(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredText:
    """What was taken: the commit and the split it came from, a hash of the text, and the file that holds it."""

    commit: str
    split: str
    fingerprint: str
    file: Path

    def texts(self) -> Iterator[str]:
        with self.file.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def stored_text(source: HubText) -> StoredText:
    """The text that `source` asks for: from pliant's cache folder, else streamed from the Hub and kept there.

    What is in the cache is not asked for again, so later runs need no network and read the same bytes, though the
    dataset may have got a new commit; a `revision`, or an emptied cache, asks anew.

    Raises:
        ValueError: see `hub_stream.stream_text`.
    """
    folder = cache_folder() / "hub"
    note = _note(folder, source)
    if not note.is_file():
        _fetch(folder, source)
    about = json.loads(note.read_text(encoding="utf-8"))
    fingerprint = about["fingerprint"]
    return StoredText(
        commit=about["commit"], split=about["split"], fingerprint=fingerprint, file=_text_file(folder, fingerprint)
    )


def pinned(source: HubText) -> HubText:
    """`source` at the commit that its text was taken from.

    Raises:
        ValueError: see `stored_text`.
    """
    return replace(source, revision=stored_text(source).commit)


def _note(folder: Path, source: HubText) -> Path:
    asked: dict[str, Json] = asdict(source)
    return folder / "asked" / f"{digest(asked, 24)}.json"


def _text_file(folder: Path, fingerprint: str) -> Path:
    return folder / "texts" / f"{fingerprint.removeprefix('sha256:')[:24]}.jsonl"


def _fetch(folder: Path, source: HubText) -> None:
    """Stream the text into its file, then note where it is, under what was asked for and under the commit."""
    from pliant.data.hub_stream import stream_text

    stream, content = stream_text(source), hashlib.sha256()
    streamed = folder / "texts" / f"{_note(folder, source).stem}.part"
    with whole_file(streamed) as file:
        for text in stream.texts:  # a split may be larger than memory
            line = json.dumps(text, ensure_ascii=False).encode() + b"\n"
            content.update(line)
            file.write(line)
    fingerprint = f"sha256:{content.hexdigest()}"
    streamed.replace(_text_file(folder, fingerprint))
    about = {**asdict(source), "commit": stream.commit, "split": stream.split, "fingerprint": fingerprint}
    for asked in (replace(source, revision=stream.commit), source):
        with whole_file(_note(folder, asked)) as file:
            file.write(json.dumps(about).encode())
