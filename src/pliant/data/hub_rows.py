"""Rows of a Hub dataset to fine-tune on: the first of each split, streamed once and kept."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pliant.data.cache import whole_file
from pliant.data.hub_stream import HubTextError, commit_of, in_one_line, need_datasets, splits_of
from pliant.data.task_setting import ROWS, TaskDataset
from pliant.records.identity import Json, digest
from pliant.records.places import cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """What was taken: the commit it came from, and a file of JSON lines for each split."""

    commit: str
    files: Mapping[str, Path]


def stored_rows(source: TaskDataset) -> StoredRows:
    """The rows that `source` asks for: from pliant's cache folder, else streamed from the Hub and kept there.

    What is in the cache is not asked for again, as with `hub_text.stored_text`.

    Raises:
        HubTextError: the dataset cannot be read as asked.
    """
    note = _note(source)
    if not note.is_file():
        _fetch(source)
    about = json.loads(note.read_text(encoding="utf-8"))
    return StoredRows(commit=about["commit"], files={split: _file(key) for split, key in about["splits"].items()})


def pinned_rows(source: TaskDataset) -> TaskDataset:
    """`source` at the commit that its rows were taken from.

    Raises:
        HubTextError: see `stored_rows`.
    """
    return replace(source, revision=stored_rows(source).commit)


def in_turn(parts: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """One of each part, then the next of each: the files of a set often hold different kinds, one after the other."""
    waiting = [iter(part) for part in parts]
    while waiting:
        left = []
        for part in waiting:
            for item in islice(part, 1):
                yield item
                left.append(part)
        waiting = left


def _note(source: TaskDataset) -> Path:
    asked: dict[str, Json] = {
        "dataset": source.dataset,
        "name": source.name,
        "folder": source.folder,
        "split": source.split,
        "revision": source.revision,
        "rows": source.rows or ROWS,
    }
    return cache_folder() / "hub" / "asked" / f"rows-{digest(asked, 24)}.json"


def _file(key: str) -> Path:
    return cache_folder() / "hub" / "rows" / f"{key}.jsonl"


def _fetch(source: TaskDataset) -> None:
    """Stream each split into a file, then note where they are, under what was asked for and under the commit."""
    need_datasets(source)
    copy = f"{{path: FOLDER, like: {source.like}}}" if source.like else "{path: FOLDER}"
    with in_one_line(source, instead=f"give a local copy as task: {copy}"):
        commit = commit_of(source)
        splits = splits_of(source, commit, source.folder)
        if source.split is not None and source.split not in splits:
            raise HubTextError(f"{source}: no split {source.split!r}; it has {', '.join(splits)}")
        wanted = [source.split] if source.split is not None else list(splits)
        keys = {split: _keep(islice(_mixed(splits[split]), source.rows or ROWS)) for split in wanted}
    for asked in (replace(source, revision=commit), source):
        with whole_file(_note(asked)) as file:
            file.write(json.dumps({"commit": commit, "splits": keys}).encode())


def _mixed(rows: Any) -> Iterator[dict[str, Any]]:
    """The rows of a split, from each of its files in turn."""
    count = rows.num_shards
    return in_turn(rows.shard(count, index) for index in range(count))


def _keep(rows: Iterable[dict[str, Any]]) -> str:
    """Write the rows; the key of their file is a hash of its content."""
    lines = [json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n" for row in rows]
    key = hashlib.sha256(b"".join(lines)).hexdigest()[:24]
    with whole_file(_file(key)) as file:
        file.writelines(lines)
    return key
