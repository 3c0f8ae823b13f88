"""lm-eval's tasks by name: where each is found, and what identifies it."""

import difflib
import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from pliant.records.outside_yaml import parse_yaml

_SEED_OF_PYTHON = 0
SEED_OF_OTHERS = 1234
"""lm-eval's own defaults: its scores are quoted with them."""
INSTALL = "benchmarks need lm-eval: pip install 'pliant[eval]'"
_KNOWN = {
    "arceasy": ("arc_easy", "arc"),
    "arcchallenge": ("arc_challenge", "arc"),
    "hellaswag": ("hellaswag", "hellaswag"),
    "piqa": ("piqa", "piqa"),
    "winogrande": ("winogrande", "winogrande"),
    "boolq": ("boolq", "super_glue/boolq"),
    "openbookqa": ("openbookqa", "openbookqa"),
    "sciq": ("sciq", "sciq"),
    "copa": ("copa", "super_glue/copa"),
    "commonsenseqa": ("commonsense_qa", "commonsense_qa"),
    "mmlu": ("mmlu", "mmlu/default"),
    "bbh": ("bbh", "bbh"),
    "gsm8k": ("gsm8k", "gsm8k"),
}
"""Benchmarks as people write them, without dashes and case: lm-eval's name, and the folder of its tasks that has them.
Reading that folder alone takes a second; reading all of them half a minute."""


class BenchmarkError(ValueError):
    """A benchmark that cannot be run here."""


def task_name(given: str) -> str:
    """lm-eval's name of a benchmark: "ARC-Easy" -> "arc_easy"; a name that is not known here stays as it is."""
    return _KNOWN.get(_letters(given), (given, ""))[0]


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def harness_version() -> str:
    """The version of lm-eval, which is part of what its scores are.

    Raises:
        BenchmarkError: it is not installed.
    """
    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise BenchmarkError(INSTALL) from error


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the files in a folder of tasks, and of the local data that its YAML names.

    Raises:
        BenchmarkError: there is no such folder, or it holds no YAML.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    tasks = [path for path in files if path.suffix in (".yaml", ".yml")]
    if not tasks:
        raise BenchmarkError(f"no task files in {folder}; give a folder of lm-eval task YAML as include_path")
    data = sorted({path for file in tasks for path in _data_files(file)} - set(files))
    content = hashlib.sha256()
    for path in (*files, *data):
        name = str(path.relative_to(folder)) if path in files else path.name
        content.update(f"{name}\x1f{path.stat().st_size}\x1f".encode() + path.read_bytes())
    return "sha256:" + content.hexdigest()


class _Plain(yaml.SafeLoader):
    """YAML whose !function and other tags are left alone."""


_Plain.add_multi_constructor("!", lambda loader, suffix, node: None)


def _data_files(task: Path) -> Iterator[Path]:
    """The local files below `dataset_kwargs` of a task's YAML."""
    try:
        content = parse_yaml(task.read_text(encoding="utf-8"), _Plain)
    except ValueError as error:
        raise BenchmarkError(f"{task} is not YAML: {error}") from error
    for text in _strings(content.get("dataset_kwargs") if isinstance(content, dict) else None):
        if Path(text).is_file():
            yield Path(text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def load_tasks(name: str, include_path: Path | None, num_fewshot: int | None) -> Any:
    """lm-eval's tasks of that name, or of that group or tag, with their data; loaded once a process and state of files.

    Raises:
        BenchmarkError: no task has this name, or its data are not to be had here.
    """
    return _load_tasks(name, include_path, num_fewshot, _state(include_path))


_State = tuple[tuple[Path, int, int], ...]


def _state(folder: Path | None) -> _State:
    """What changes when a file of `folder` does: paths, sizes, times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder is not None else []
    return tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=32)
def _load_tasks(name: str, include_path: Path | None, num_fewshot: int | None, state: _State) -> Any:
    manager = _manager_of(name, include_path, state)
    if name not in manager.all_tasks:
        near = difflib.get_close_matches(name, [*manager.all_tasks, *_KNOWN], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists them"
        raise BenchmarkError(f"no lm-eval task is called {name!r}; {hint}")
    seed_as_lm_eval()  # some tasks shuffle their choices while they are loaded
    try:
        loaded = manager.load([name])
    except Exception as error:  # datasets and the code of tasks raise almost anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BenchmarkError(
            f"the data of the benchmark {name} are not to be had here ({first}); fetch them where there is a network, "
            "or take it out of evaluations"
        ) from error
    for task in loaded["tasks"].values():
        _set_fewshot(task, num_fewshot)
    return loaded


def _set_fewshot(task: Any, wanted: int | None) -> None:
    """As lm-eval has it: a task that fixes its examples at 0 keeps 0, one that says nothing has none."""
    given = task.get_config("num_fewshot")
    if wanted is not None and given != 0:
        task.set_config(key="num_fewshot", value=wanted)
    elif given is None:
        task.set_config(key="num_fewshot", value=0)


def seed_as_lm_eval() -> None:
    """The global generators, which tasks draw from, as lm-eval's command line sets them."""
    random.seed(_SEED_OF_PYTHON)
    np.random.seed(SEED_OF_OTHERS)
    torch.manual_seed(SEED_OF_OTHERS)


def _manager_of(name: str, include_path: Path | None, state: _State) -> Any:
    """The smallest set of tasks that has `name`: the user's folder, that of a known benchmark, or all there are."""
    if include_path is not None and name in (own := _manager(include_path, False, state)).all_tasks:
        return own
    folder = next((folder for known, folder in _KNOWN.values() if known == name), None)
    if folder is not None and include_path is None:
        return _manager(_shipped() / folder, False)
    return _manager(include_path, True, state)


@lru_cache(maxsize=8)
def _manager(include_path: Path | None, defaults: bool, state: _State = ()) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(include_path) if include_path else None, include_defaults=defaults)


def _shipped() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent
