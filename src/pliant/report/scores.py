"""A user's own table of losses, read as the table of a study: `pliant verdict scores.csv`."""

import csv
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pliant.execution.engine import UserError
from pliant.execution.table import Row, Table
from pliant.records.units import parse_tokens

REQUIRED = ("checkpoint", "strength", "value")
OPTIONAL = (
    "tokens",
    "seed",
    "draw",
    "sign",
    "block",
    "count",
    "trajectory",
    "modification",
    "scaling",
    "task",
    "evaluation",
    "split",
    "learning_rate",
    "annealed",
    "epochs",
    "parameters",
    "bytes_per_token",
    "unit",
)
NATS = "nats"
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


class ScoresError(UserError):
    """A table of scores that cannot be judged as it is."""


@dataclass(slots=True)
class _Cell:
    """One theta' under one evaluation, while its blocks are being read."""

    shared: dict[str, Any]
    line: int
    blocks: dict[str, tuple[float, int]] = field(default_factory=dict)


def read_scores(path: Path) -> Table:
    """The table of a CSV file: a row for each measured loss, in nats per token.

    Columns: `checkpoint`, `strength` (0 for the base) and `value`; and as far as there are any `tokens` (else the
    order of first appearance stands for the budget), `seed` (of pre-training), `draw` and `sign` (of noise), `block`
    (of held-out text; a row a block, `count` tokens each), `modification`, `scaling`, `task`, `evaluation`
    (pretraining-loss or task-loss), `split`, `trajectory`, `learning_rate` (of pre-training, there), `annealed`,
    `epochs`, `parameters`, `bytes_per_token`, `unit` (nats).

    A value that is no finite number counts as diverged: it is left out of the curves and the report says so.

    Raises:
        ScoresError: the file cannot be read, lacks a column, holds something that is no number, a score twice, a unit
            other than nats, only strength 0, or a single checkpoint; the line is named.
    """
    lines = _lines(path)
    cells: dict[tuple[Any, ...], _Cell] = {}
    for number, line in lines:
        shared = _shared(path, number, line)
        key = tuple(shared.items())
        cell = cells.setdefault(key, _Cell(shared=shared, line=number))
        block = line.get("block", "")
        if block in cell.blocks:
            raise ScoresError(
                f"{path}, line {number}: this score was given before, on line {cell.line}; give each once, "
                "or tell them apart by seed, draw, sign or block"
            )
        cell.blocks[block] = (_number(path, number, "value", line["value"], nan=True), _count(path, number, line))
    rows = tuple(_row(path, cell) for cell in cells.values())
    _check(path, rows)
    return Table(
        folder=path.parent,
        study=path.stem,
        rows=rows,
        planned=len(rows),
        missing=0,
        failed=(),
        settings="",
    )


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restkey="", restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            _check_names(path, names)
            reader.fieldnames = names
            found = [
                (
                    reader.line_num,
                    {name: (value or "").strip() for name, value in line.items() if isinstance(value, str)},
                )
                for line in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoresError(f"{path} cannot be read as CSV: {error}") from error
    if not found:
        raise ScoresError(f"{path} holds no scores; give a row for each checkpoint and strength")
    return found


def _check_names(path: Path, names: list[str]) -> None:
    for name in REQUIRED:
        if name not in names:
            raise ScoresError(
                f"{path} has no column {name}; its columns are {', '.join(names) or 'none'}; "
                f"needed are {', '.join(REQUIRED)}, known besides {', '.join(OPTIONAL)}"
            )
    for name in names:
        if name not in REQUIRED + OPTIONAL:
            near = difflib.get_close_matches(name, REQUIRED + OPTIONAL, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(REQUIRED + OPTIONAL)}"
            raise ScoresError(f"{path}: unknown column {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise ScoresError(f"{path}: a column is there twice: {', '.join(names)}")


def _shared(path: Path, number: int, line: Mapping[str, str]) -> dict[str, Any]:
    """What the blocks of one score have in common, in the words of the study table."""
    given = {name: value for name, value in line.items() if value}
    if not given.get("checkpoint"):
        raise ScoresError(f"{path}, line {number}: no checkpoint is named")
    if given.get("unit", NATS) != NATS:
        raise ScoresError(
            f"{path}, line {number}: unit {given['unit']!r}; losses are {NATS} per token here: "
            "bits per byte x ln 2 x bytes per token"
        )
    strength = _number(path, number, "strength", given.get("strength", ""))
    if strength < 0:
        raise ScoresError(f"{path}, line {number}: strength {strength:g} is negative; 0 is the base")
    base = strength == 0
    modification = "none" if base else given.get("modification", "noise")
    task = given.get("task")
    scaling = given.get("scaling")
    words = [modification, *([f"{scaling} scaling"] if scaling else []), *([task] if task else [])]
    return {
        "trajectory": given.get("trajectory", "trajectory"),
        "checkpoint": given["checkpoint"],
        "tokens": _tokens(path, number, given),
        "parameters": _whole(path, number, "parameters", given),
        "pretraining_seed": _whole(path, number, "seed", given),
        "annealed": _yes(path, number, given),
        "pretraining_learning_rate": _maybe(path, number, "learning_rate", given),
        "epochs": _maybe(path, number, "epochs", given),
        "bytes_per_token": _maybe(path, number, "bytes_per_token", given),
        "modification": modification,
        "label": "none" if base else " ".join(words) if modification == "fine-tune" else ", ".join(words),
        "scaling": None if base else scaling,
        "task": task,
        "strength": strength,
        "evaluation": given.get("evaluation", "pretraining-loss"),
        "metric": "loss_nats",
        "split": given.get("split", "test"),
        "draw": _whole(path, number, "draw", given),
        "sign": _whole(path, number, "sign", given),
    }


def _row(path: Path, cell: _Cell) -> Row:
    values = [value for value, _ in cell.blocks.values()]
    counts = [count for _, count in cell.blocks.values()]
    diverged = not all(math.isfinite(value) for value in values)
    sums = [value * count for value, count in cell.blocks.values()]
    return {
        **cell.shared,
        "study": path.stem,
        "value": math.nan if diverged else math.fsum(sums) / sum(counts),
        "blocks": tuple(sums) if len(sums) > 1 else (),
        "count": tuple(counts) if len(sums) > 1 else (),
        "status": "diverged" if diverged else "ok",
        "cell": f"line {cell.line}",
        "record": f"{path.name}, line {cell.line}",
    }


def _check(path: Path, rows: tuple[Row, ...]) -> None:
    budgets: dict[tuple[str, str], set[Any]] = {}
    for row in rows:
        budgets.setdefault((row["trajectory"], row["checkpoint"]), set()).add(row["tokens"])
    for (_, name), tokens in budgets.items():
        if len(tokens) > 1:
            raise ScoresError(f"{path}: checkpoint {name} has tokens {_listed(tokens)}; a checkpoint has one budget")
    known = {next(iter(tokens)) is not None for tokens in budgets.values()}
    if len(known) > 1:
        raise ScoresError(f"{path}: tokens are given for some checkpoints only; give them for all or for none")
    if len(budgets) < 2:
        raise ScoresError(f"{path} holds one checkpoint, {rows[0]['checkpoint']}; a verdict compares two or more")
    if all(row["strength"] == 0 for row in rows):
        raise ScoresError(f"{path} holds strength 0 only: nothing was modified; add rows with a strength above 0")


def _listed(values: Iterable[Any]) -> str:
    return " and ".join(sorted(str(value) for value in values))


def _number(path: Path, number: int, name: str, text: str, *, nan: bool = False) -> float:
    try:
        value = float(text) if text or not nan else math.nan
    except ValueError as error:
        raise ScoresError(f"{path}, line {number}: {name} is {text!r}; give a number") from error
    if not nan and not math.isfinite(value):
        raise ScoresError(f"{path}, line {number}: {name} is {text!r}; give a finite number")
    return value


def _maybe(path: Path, number: int, name: str, given: Mapping[str, str]) -> float | None:
    return _number(path, number, name, given[name]) if name in given else None


def _whole(path: Path, number: int, name: str, given: Mapping[str, str]) -> int | None:
    value = _maybe(path, number, name, given)
    if value is not None and value != int(value):
        raise ScoresError(f"{path}, line {number}: {name} is {given[name]!r}; give a whole number")
    return None if value is None else int(value)


def _count(path: Path, number: int, line: Mapping[str, str]) -> int:
    count = _whole(path, number, "count", {k: v for k, v in line.items() if v})
    if count is not None and count < 1:
        raise ScoresError(f"{path}, line {number}: count is {count}; give the tokens of the block, 1 or more")
    return count or 1


def _tokens(path: Path, number: int, given: Mapping[str, str]) -> int | None:
    if "tokens" not in given:
        return None
    try:
        return parse_tokens(given["tokens"])
    except ValueError as error:
        raise ScoresError(f"{path}, line {number}: {error}") from error


def _yes(path: Path, number: int, given: Mapping[str, str]) -> bool | None:
    if "annealed" not in given:
        return None
    if (text := given["annealed"].lower()) not in TRUE + FALSE:
        raise ScoresError(f"{path}, line {number}: annealed is {given['annealed']!r}; give true or false")
    return text in TRUE
