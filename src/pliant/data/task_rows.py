"""The examples of a task in three splits: its own where it has them, else held out by a hash; none in two of them."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.data.corpora import SPLITS, Split
from pliant.data.hub_rows import in_turn, stored_rows
from pliant.data.samples import Sample, SampleError, check_unicode, sample_of
from pliant.data.table_files import rows_of
from pliant.data.task_setting import TaskDataset, TaskFiles, task_name
from pliant.data.tasks import TaskError

HELD_OUT_PERCENT = 10
"""The share of the training rows that a validation or test split gets where the set has none of its own."""
_FILES = (".jsonl", ".jsonl.gz", ".parquet")
_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
Row = tuple[str, dict[str, Any]]
Placed = tuple[str, Sample]
Keyed = tuple[bytes, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The examples of each split, and what was left out of them, for people."""

    splits: Mapping[Split, tuple[Sample, ...]]
    notes: tuple[str, ...]


def task_samples(setting: TaskFiles | TaskDataset) -> Samples:
    """Read, recognise and divide the examples.

    A split that the set does not have is taken out of train, by a hash of what is asked: a tenth for validation, a
    tenth for test. What is asked in two splits is kept in test, else in validation.

    Raises:
        TaskError: rows that are no examples, empty responses, or a split without any.
        ValueError: files or a dataset that cannot be read.
    """
    name = task_name(setting)
    rows, unread = _local_rows(setting) if isinstance(setting, TaskFiles) else _hub_rows(setting)
    if "train" not in rows:
        raise TaskError(f"task {name}: {setting} has no training rows; name the split to train on, or give more files")
    found = {split: list(_samples(some, setting)) for split, some in rows.items()}
    empty = [place for some in found.values() for place, sample in some if sample.is_empty]
    total = sum(map(len, found.values()))
    if empty and (not setting.drops_empty or len(empty) == total):
        raise TaskError(
            f"task {name}: an empty response in {len(empty):,} of {total:,} examples, first at {empty[0]}; "
            "fill or delete them, or leave them out with drop_empty: true"
        )
    kept = {split: [(sample.key, sample) for _, sample in some if not sample.is_empty] for split, some in found.items()}
    splits, repeated = _apart(_divided(kept))
    for split in SPLITS:
        if not splits[split]:
            raise TaskError(
                f"task {name}: none of its {total:,} examples is left for {split}; give more, or a file for each split "
                "with train, validation and test in the names"
            )
    notes = [*unread]
    if empty:
        notes.append(f"{name}: left out, as their response is empty: {len(empty):,} of {total:,} examples")
    if repeated:
        notes.append(f"{name}: left out, as a split further held out asks the same: {repeated:,} examples")
    return Samples(splits=splits, notes=tuple(notes))


def _samples(rows: Iterable[Row], setting: TaskFiles | TaskDataset) -> Iterator[Placed]:
    public = setting.public
    for place, row in rows:
        try:
            sample = public.sample(row) if public is not None else sample_of(row, setting.columns)
            check_unicode(sample)
            yield place, sample
        except SampleError as error:
            raise TaskError(f"task {task_name(setting)}: {place}: {error}") from error


def _divided(found: Mapping[Split, list[Keyed]]) -> dict[Split, list[Keyed]]:
    """With the splits that are lacking taken out of train: the tenth of what is asked whose hashes come first, and the
    tenth after it."""
    asked = sorted({key for key, _ in found["train"]})
    share = max(1, round(len(asked) * HELD_OUT_PERCENT / 100))
    lacking = [split for split in SPLITS if split not in found]
    to = {key: split for at, split in enumerate(lacking) for key in asked[at * share : (at + 1) * share]}
    splits: dict[Split, list[Keyed]] = {split: list(found.get(split, ())) for split in SPLITS}
    splits["train"] = []
    for key, sample in found["train"]:
        splits[to.get(key, "train")].append((key, sample))
    return splits


def _apart(splits: Mapping[Split, list[Keyed]]) -> tuple[dict[Split, tuple[Sample, ...]], int]:
    """Without what is asked in a split further held out, and how many that are."""
    known: set[bytes] = set()
    apart: dict[Split, tuple[Sample, ...]] = {}
    for split in reversed(SPLITS):
        apart[split] = tuple(sample for key, sample in splits[split] if key not in known)
        known |= {key for key, _ in splits[split]}
    return apart, sum(map(len, splits.values())) - sum(map(len, apart.values()))


def _hub_rows(setting: TaskDataset) -> tuple[dict[Split, Iterator[Row]], list[str]]:
    """A named split stands for train; else those whose names are known."""
    files = stored_rows(setting).files
    if setting.split is not None:
        return {"train": _numbered(setting, setting.split, files[setting.split])}, []
    known = {name: split for name in files if (split := _SPLITS.get(name)) and _answered(setting, split)}
    return {split: _numbered(setting, name, files[name]) for name, split in known.items()}, []


def _numbered(setting: TaskDataset, split: str, file: Path) -> Iterator[Row]:
    for number, (_, row) in enumerate(rows_of(file), start=1):
        yield f"{setting.dataset}, {split}, row {number}", row


def _answered(setting: TaskFiles | TaskDataset, split: Split) -> bool:
    return setting.public is None or not setting.public.splits or split in setting.public.splits


def _local_rows(setting: TaskFiles) -> tuple[dict[Split, Iterator[Row]], list[str]]:
    """A single file is for training; in a folder the names of files and of folders around them say for what."""
    place = _place(setting)
    if place.is_file():
        return {"train": itertools.islice(rows_of(place), setting.rows)}, []
    files = [file for file in sorted(place.rglob("*")) if file.is_file() and file.name.endswith(_FILES)]
    if not files:
        raise TaskError(f"{place}: no {', '.join(_FILES[:-1])} or {_FILES[-1]} files in this folder")
    of: dict[Path, Split | None] = {file: _named_split(file.relative_to(place)) for file in files}
    if not any(of.values()):
        return {"train": _first_rows(files, setting.rows)}, []
    splits = {split: [file for file in files if of[file] == split] for split in SPLITS if _answered(setting, split)}
    other = [str(file.relative_to(place)) for file in files if of[file] is None]
    unread = f"{task_name(setting)}: left out, as the name says no split: {', '.join(other[:4])}"
    return {split: _first_rows(some, setting.rows) for split, some in splits.items() if some}, [unread] if other else []


def _place(setting: TaskFiles) -> Path:
    """The file or folder; of a copy of a whole public set, the folder of its configuration."""
    place = Path(setting.path)
    if not place.exists():
        raise TaskError(f"task {task_name(setting)}: nothing is at {place}; give a file, or a folder of files")
    if place.is_file() and not place.name.endswith(_FILES):
        raise TaskError(f"{place}: expected a {', '.join(_FILES[:-1])} or {_FILES[-1]} file; convert it")
    public = setting.public
    inner = (public.folder or public.name) if public is not None else None
    return place / inner if inner is not None and (place / inner).is_dir() else place


def _first_rows(files: Iterable[Path], rows: int | None) -> Iterator[Row]:
    return itertools.islice(in_turn(map(rows_of, files)), rows)


def _named_split(relative: Path) -> Split | None:
    """The split whose word stands last in the path: test of main/test-00000-of-00001.parquet."""
    words = re.findall("[a-z]+", str(relative).lower())
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)
