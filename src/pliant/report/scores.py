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
KNOWN = {
    "modification": ("noise", "fine-tune", "quantise", "prune", "merge", "interpolate", "none"),
    "evaluation": ("pretraining-loss", "task-loss"),
    "split": ("validation", "test"),
    "scaling": ("init", "relative"),
}
"""Words that columns may hold; another modification is taken as it is unless it looks like one of these misspelt."""
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
        cell.blocks[block] = (_loss(path, number, line["value"]), _count(path, number, line))
    _check_blocks(path, cells.values())
    _check_pairs(path, cells.values())
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
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restkey="", restval=None)
            names = [name.strip() for name in reader.fieldnames or ()]
            _check_names(path, names)
            reader.fieldnames = names
            found = [(reader.line_num, _line(path, reader.line_num, names, line)) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoresError(f"{path} cannot be read as CSV: {error}") from error
    if not found:
        raise ScoresError(f"{path} holds no scores; give a row for each checkpoint and strength")
    return found


def _line(path: Path, number: int, names: list[str], line: Mapping[str, Any]) -> dict[str, str]:
    """The fields of one line by name; a decimal comma or a lost one would move them."""
    surplus = [value for value in line.get("", ()) or () if value.strip()]
    short = sum(line[name] is None for name in names)
    if surplus or short:
        raise ScoresError(
            f"{path}, line {number}: {len(names) + len(surplus) - short} fields, the header has {len(names)}; separate "
            "fields by commas, write decimals with a point, and quote text that holds a comma"
        )
    return {name: str(line[name]).strip() for name in names}


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
    for name, known in KNOWN.items():
        _check_word(path, number, name, given.get(name), known)
    strength = _number(path, number, "strength", given.get("strength", ""))
    if strength < 0:
        raise ScoresError(f"{path}, line {number}: strength {strength:g} is negative; 0 is the base")
    base = strength == 0
    if given.get("evaluation") == "task-loss" and not base and given.get("modification") != "fine-tune":
        raise ScoresError(f"{path}, line {number}: task-loss is judged after modification fine-tune only")
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
        "bytes_per_token": _positive(path, number, "bytes_per_token", given),
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


def _check_word(path: Path, number: int, name: str, given: str | None, words: tuple[str, ...]) -> None:
    if given is None or given in words:
        return
    near = difflib.get_close_matches(given.lower().replace("_", "-"), words, n=1, cutoff=0.75)
    if near or name != "modification":
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(words)}"
        raise ScoresError(f"{path}, line {number}: {name} is {given!r}; {hint}")


def _order(block: str) -> tuple[float, str]:
    """Blocks that are neighbours in the text stand side by side: by number, else by name."""
    try:
        return float(block), ""
    except ValueError:
        return math.inf, block


def _row(path: Path, cell: _Cell) -> Row:
    ordered = [cell.blocks[block] for block in sorted(cell.blocks, key=_order)]
    counts = [count for _, count in ordered]
    diverged = not all(math.isfinite(value) for value, _ in ordered)
    sums = [value * count for value, count in ordered]
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


def _check_blocks(path: Path, cells: Iterable[_Cell]) -> None:
    """Differences are paired only if both losses are means over the same text."""
    texts: dict[tuple[Any, ...], _Cell] = {}
    for cell in cells:
        same = tuple(cell.shared[name] for name in ("trajectory", "evaluation", "split", "task"))
        other = texts.setdefault(same, cell)
        if set(other.blocks) != set(cell.blocks):
            odd = sorted(set(other.blocks) ^ set(cell.blocks), key=_order)
            raise ScoresError(
                f"{path}, line {cell.line}: not the same blocks as on line {other.line} ({odd[0] or 'none'} is there "
                "once only); losses are compared on the same text, so give the same blocks everywhere"
            )


def _check_pairs(path: Path, cells: Iterable[_Cell]) -> None:
    """An antithetic pair counts as one draw, and half of it as none."""
    pairs: dict[tuple[Any, ...], list[_Cell]] = {}
    for cell in cells:
        if cell.shared["sign"] is not None:
            whose = tuple(value for name, value in cell.shared.items() if name != "sign")
            pairs.setdefault(whose, []).append(cell)
    for pair in pairs.values():
        if sorted(cell.shared["sign"] for cell in pair) != [-1, 1]:
            raise ScoresError(
                f"{path}, line {pair[0].line}: draw {pair[0].shared['draw']} lacks its other sign; give both, "
                "1 and -1, or leave sign out"
            )


def _check_tokens(path: Path, budgets: Mapping[tuple[str, str], set[Any]]) -> None:
    names: dict[tuple[str, int], str] = {}
    for (trajectory, name), (at,) in budgets.items():
        if at is not None and (other := names.setdefault((trajectory, at), name)) != name:
            raise ScoresError(
                f"{path}: checkpoints {other} and {name} both have {at:,} tokens; keep one, or put them into "
                "different trajectories"
            )


def _check(path: Path, rows: tuple[Row, ...]) -> None:
    budgets: dict[tuple[str, str], set[Any]] = {}
    for row in rows:
        budgets.setdefault((row["trajectory"], row["checkpoint"]), set()).add(row["tokens"])
    for (_, name), tokens in budgets.items():
        if len(tokens) > 1:
            raise ScoresError(f"{path}: checkpoint {name} has tokens {_listed(tokens)}; a checkpoint has one budget")
    _check_tokens(path, budgets)
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
        value = float(text)
    except ValueError as error:
        raise ScoresError(f"{path}, line {number}: {name} is {text!r}; give a number") from error
    if not nan and not math.isfinite(value):
        raise ScoresError(f"{path}, line {number}: {name} is {text!r}; give a finite number")
    return value


def _loss(path: Path, number: int, text: str) -> float:
    """A loss; nan and inf are diverged ones."""
    if not text:
        raise ScoresError(f"{path}, line {number}: no value; leave the line out, or write nan for a diverged run")
    value = _number(path, number, "value", text, nan=True)
    if value < 0:
        raise ScoresError(f"{path}, line {number}: value {text} is negative; a loss in nats per token is not")
    return value


def _maybe(path: Path, number: int, name: str, given: Mapping[str, str]) -> float | None:
    return _number(path, number, name, given[name]) if name in given else None


def _positive(path: Path, number: int, name: str, given: Mapping[str, str]) -> float | None:
    value = _maybe(path, number, name, given)
    if value is not None and value <= 0:
        raise ScoresError(f"{path}, line {number}: {name} is {given[name]}; give a number above 0")
    return value


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
