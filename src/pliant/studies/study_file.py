"""Studies from outside: YAML in and out, recipe functions, and errors that name the key and the nearest known one."""

import difflib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pliant.checkpoints.architecture import Architecture
from pliant.checkpoints.sources import anchored as anchored_source
from pliant.data.corpora import EMBEDDED, CorpusName
from pliant.data.hub_text import HubText
from pliant.data.task_setting import TaskDataset, TaskFiles, TaskSetting
from pliant.data.text_files import TextFiles
from pliant.execution.resources import Resources
from pliant.modifications.adapters import LowRank
from pliant.records.numerics import Numerics
from pliant.records.outside import clipped
from pliant.records.outside_yaml import MOST_CHARACTERS, parse_yaml
from pliant.studies.evaluation_spec import SECTIONS
from pliant.studies.modification_spec import (
    FineTuneSpec,
    InterpolateSpec,
    ModificationSpec,
    NoiseSpec,
    PruneSpec,
    QuantiseSpec,
    RegulariseSpec,
    SearchSpec,
)
from pliant.studies.spec import (
    CheckpointSpec,
    HeldOutSpec,
    LadderSpec,
    MergeSpec,
    SpecError,
    StudySpec,
    TrajectorySpec,
)
from pliant.training.early_stop import EarlyStop
from pliant.training.loop import Optimisation
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule


class _Loader(yaml.SafeLoader):
    """Booleans as in YAML 1.2: YAML 1.1 would read the key `on` of an evaluation as true."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name and form
        first: [(tag, pattern) for tag, pattern in known if first in "tTfF" or tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_study(text: str, place: str) -> StudySpec:
    """A study from YAML text; `place` names it in errors.

    Raises:
        SpecError: not YAML, an unknown key (the nearest known one is suggested), or a value out of range.
    """
    try:
        content = parse_yaml(text, _Loader)
    except ValueError as error:
        raise SpecError(f"{place} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{place}: expected a mapping with study, trajectories, ...; found {type(content).__name__}")
    try:
        return StudySpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{place}: {_first_line(error)}") from error


def read_study(path: Path) -> StudySpec:
    """A study from a YAML file; relative paths in it are taken from the file's folder.

    Raises:
        SpecError: the file cannot be read, or see `parse_study`.
    """
    return anchored(parse_study(read_text(path), str(path)), path.resolve().parent)


def read_text(path: Path) -> str:
    """The text of a study file, read no further than one can be long.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError as error:
        raise SpecError(
            f"no study file at {path}; `pliant demo --write-study FILE` writes one to start from"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error


def read_recipe(name: str) -> StudySpec:
    """The study that the function `module:function` returns.

    Raises:
        SpecError: there is no such function, or it returns something else.
    """
    module, function = name.split(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise SpecError(f"no recipe {name} ({error}); name a function as module:function") from error
    if not isinstance(made, StudySpec):
        raise SpecError(f"{name} returned {type(made).__name__}, expected a StudySpec")
    return made


def anchored(spec: StudySpec, folder: Path) -> StudySpec:
    """The study with its relative paths taken from `folder`, so that it can be run from anywhere."""

    def checkpoints(given: str | tuple[CheckpointSpec, ...] | None) -> str | tuple[CheckpointSpec, ...] | None:
        if given is None or isinstance(given, str):
            return anchored_source(given, below=folder) if given else None
        return tuple(e.model_copy(update={"path": anchored_source(e.path, below=folder)}) for e in given)

    trajectories = tuple(t.model_copy(update={"checkpoints": checkpoints(t.checkpoints)}) for t in spec.trajectories)
    update: dict[str, Any] = {
        "trajectories": trajectories,
        "corpus": _anchored_corpus(spec.corpus, folder),
        "modifications": tuple(
            entry.with_task(lambda task: _anchored_task(task, folder)) for entry in spec.modifications
        ),
        "runs": None if spec.runs is None else folder / spec.runs,
        "evaluations": tuple(entry.anchored(lambda path: folder / path) for entry in spec.evaluations),
    }
    if spec.tokenizer and (folder / spec.tokenizer).exists():
        update["tokenizer"] = str(folder / spec.tokenizer)
    return spec.model_copy(update=update)


def _anchored_corpus(corpus: CorpusName, folder: Path) -> CorpusName:
    if isinstance(corpus, TextFiles):
        return replace(corpus, path=str(folder / corpus.path))
    if isinstance(corpus, str) and corpus != EMBEDDED and (folder / corpus).exists():
        return str(folder / corpus)
    return corpus


def _anchored_task(task: TaskSetting, folder: Path) -> TaskSetting:
    return replace(task, path=str(folder / task.path)) if isinstance(task, TaskFiles) else task


def to_yaml(spec: StudySpec) -> str:
    """The study as YAML, every default written out; a numerics plan only where it has one: a folder chooses its own."""
    planned = "numerics" in spec.model_fields_set
    content = spec.model_dump(mode="json", by_alias=True, exclude=None if planned else {"numerics"})
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _first_line(error: ValidationError) -> str:
    problems = error.errors()
    unknown = [p for p in problems if p["type"] in ("extra_forbidden", "unexpected_keyword_argument")]
    first = (unknown or problems)[0]
    place = ".".join(str(part) for part in first["loc"])[:200]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if unknown:
        return f"unknown key {place}{_suggestion(str(first['loc'][-1]))}{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], (dict, list, tuple)) else f", got {clipped(first['input'])}"
    return f"{place}: {message}{given}{more}" if place else f"{message}{more}"


def _suggestion(key: str) -> str:
    near = difflib.get_close_matches(key, _known_keys() - {key}, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _known_keys() -> set[str]:
    models = (
        StudySpec,
        TrajectorySpec,
        LadderSpec,
        CheckpointSpec,
        MergeSpec,
        ModificationSpec,
        NoiseSpec,
        QuantiseSpec,
        PruneSpec,
        InterpolateSpec,
        FineTuneSpec,
        RegulariseSpec,
        SearchSpec,
        HeldOutSpec,
        *SECTIONS,
    )
    settings = (
        Recipe, Schedule, Optimisation, EarlyStop, Architecture, Numerics, LowRank, TextFiles, HubText, TaskFiles,
        TaskDataset, Resources,
    )  # fmt: skip
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    return keys | {name for kind in settings for name in kind.__dataclass_fields__}
