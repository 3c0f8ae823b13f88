"""What a study may fine-tune on: the name of a task, local files, or a dataset of the Hub."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pliant.data.public_tasks import PUBLIC_TASKS, PublicTask
from pliant.data.samples import Columns
from pliant.data.text_files import EXTENSIONS

ROWS = 20_000
"""Rows taken of each split of a Hub dataset unless another number is given: huge sets are not fetched whole."""

Template = Literal["model", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How rows are read and written, wherever they come from.

    `called` is the task's name in records and pages. `like` names the public set whose columns and prompts the rows
    have; `messages`, `prompt` with `completion`, and `text` name columns. `template` is the chat template: the
    tokenizer's own (model) or that of chat.py (default); by default its own if it has one, and none for strings of
    prompt and completion. `pack` puts several training examples into a row, by default all but classification. `rows`
    are the first of each split; `drop_empty` leaves out examples with an empty response.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    called: str | None = None
    like: str | None = None
    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    template: Template | None = None
    pack: bool | None = None
    rows: int | None = None
    drop_empty: bool | None = None

    def __post_init__(self) -> None:
        columns = self.columns
        if self.like is not None:
            public_task(self.like)
            if columns != Columns():
                raise ValueError(f"like: {self.like} knows its columns; leave out like, or the names of columns")
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows is {self.rows}, expected at least 1")

    @property
    def columns(self) -> Columns:
        return Columns(messages=self.messages, prompt=self.prompt, completion=self.completion, text=self.text)

    @property
    def public(self) -> PublicTask | None:
        return public_task(self.like) if self.like is not None else None

    @property
    def drops_empty(self) -> bool:
        public = self.public
        return self.drop_empty if self.drop_empty is not None else public is not None and public.drop_empty


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFiles(TaskOptions):
    """A `.jsonl`, `.jsonl.gz` or `.parquet` file, or a folder of them, whose names may say train, validation, test."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDataset(TaskOptions):
    """A Hub dataset. `name` is its configuration, `folder` a folder of it, `split` the only split that is used,
    `revision` a branch, tag or commit."""

    dataset: str
    name: str | None = None
    folder: str | None = None
    split: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return ":".join([self.dataset, self.name or "", self.split or ""]).rstrip(":")


TaskSetting = str | TaskFiles | TaskDataset


def task_name(setting: TaskSetting) -> str:
    """What records and pages call it: the name itself, `called`, or what the file or dataset is called."""
    if isinstance(setting, str):
        return setting
    if setting.called is not None:
        return setting.called
    if isinstance(setting, TaskDataset):
        return Path(setting.dataset).name
    file = Path(setting.path).name
    return next((file.removesuffix(e) for e in EXTENSIONS if file.endswith(e)), file)


def public_task(name: str) -> PublicTask:
    """The public set `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in PUBLIC_TASKS:
        raise ValueError(
            f"no public set {name!r}{nearest(name, tuple(PUBLIC_TASKS))}; known: {', '.join(PUBLIC_TASKS)}"
        )
    return PUBLIC_TASKS[name]


def nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def task_source(setting: TaskSetting) -> TaskSetting:
    """`setting`, a public set spelt out as the Hub dataset that it is."""
    if not isinstance(setting, str) or setting not in PUBLIC_TASKS:
        return setting
    known = PUBLIC_TASKS[setting]
    return TaskDataset(dataset=known.dataset, name=known.name, folder=known.folder, called=setting, like=setting)
