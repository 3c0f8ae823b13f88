"""A study that runs in a second: the Markov language, a model of about 1,500 parameters, a few steps."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pliant.execution.engine import Engine, TaskFailure
from pliant.execution.local import SerialEngine
from pliant.execution.table import Table
from pliant.studies.cells import CellPlan
from pliant.studies.plan import Plan
from pliant.studies.runner import run_studies
from pliant.studies.settling import planned
from pliant.studies.spec import StudySpec
from pliant.studies.study_file import parse_study

TOKENS_PER_STEP = 4 * 16
_CONTENT: dict[str, Any] = {
    "study": "tiny",
    "corpus": "markov:3",
    "held_out": {"tokens": 512, "task_rows": 16},
    "trajectories": [
        {
            "name": "main",
            "ladder": {
                "architecture": {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "context": 16},
                "recipe": {
                    "learning_rate": 0.01,
                    "batch_windows": 4,
                    "schedule": {"kind": "wsd", "warmup_steps": 2, "decay_fraction": 0.25},
                },
                "budgets": [8 * TOKENS_PER_STEP, 16 * TOKENS_PER_STEP],
                "seeds": [1],
            },
        }
    ],
    "modifications": [
        {"noise": {"strengths": [0.05], "draws": 2}},
        {"fine_tune": {"task": "skip", "learning_rates": [0.01, 0.02], "steps": 4, "batch": 4}},
    ],
}


def content(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The study as a mapping, each value of `changes` put at its dotted place ("trajectories.0.ladder.seeds")."""
    whole = copy.deepcopy(_CONTENT)
    for place, value in (changes or {}).items():
        *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        inner: Any = whole
        for part in parents:
            inner = inner[part]
        inner[last] = value
    return whole


def tiny(changes: dict[str, Any] | None = None) -> StudySpec:
    return parse_study(yaml.safe_dump(content(changes)), "tiny.yaml")


def of_checkpoints(
    checkpoints: Path | list[dict[str, Any]], *, modifications: Iterable[dict[str, Any]] = (), **changes: Any
) -> StudySpec:
    """The same study on checkpoints that exist, with 16 tokens of context."""
    given = str(checkpoints) if isinstance(checkpoints, Path) else checkpoints
    whole = content() | {
        "held_out": {"tokens": 512, "task_rows": 16, "context": 16},
        "trajectories": [{"name": "theirs", "checkpoints": given}],
        "modifications": list(modifications),
    }
    return parse_study(yaml.safe_dump(whole | changes), "theirs.yaml")


def run(spec: StudySpec, folder: Path, engine: Engine | None = None) -> tuple[Table, list[TaskFailure], list[str]]:
    """Run what is missing; the table, the failures, and the keys of the tasks that were started."""
    started: list[str] = []

    def note(event: Any) -> None:
        if event.kind == "started":
            started.append(event.key)

    tables, failures = run_studies([(spec, folder)], engine=engine or SerialEngine(), observe=lambda _: note)
    return tables[0], failures, started


def plan(spec: StudySpec, folder: Path) -> Plan:
    return planned(spec, folder)


def cells(spec: StudySpec, folder: Path) -> dict[str, CellPlan]:
    """The planned cells by what a reader calls them: checkpoint, modification, strength, seeds."""
    named = {}
    for group in plan(spec, folder).groups:
        for cell in group.cells:
            label = cell.labels
            named[f"{group.name} | {label['label']} {label['strength']} | {cell.seed}"] = cell
    return named


def record_files(folder: Path) -> dict[str, bytes]:
    """Every file below records/ but run.json, by relative path."""
    files = (path for path in (folder / "records").rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def is_one_line(text: str) -> bool:
    return bool(text.strip()) and "\n" not in text and "Traceback" not in text
