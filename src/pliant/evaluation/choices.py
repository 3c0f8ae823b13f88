"""Multiple choice from a local file: which choice the model finds likeliest, item by item."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pliant.data.tokenizers import Tokenizer
from pliant.evaluation.prompts import request_of
from pliant.evaluation.scorer import longest_input, score
from pliant.records.outside import clipped, parse_json
from pliant.records.record import Measurement

_CONTEXT = ("context", "question", "query", "ctx")
_CHOICES = ("choices", "endings")
_ANSWER = ("answer", "gold", "label", "answerKey")
_DELIMITER = " "  # between context and choice, as in lm-eval


class ItemError(ValueError):
    """A file of multiple-choice items that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A context, two or more choices to continue it by, and the place of the right one."""

    context: str
    choices: tuple[str, ...]
    answer: int


def read_items(file: Path, limit: int | None = None) -> tuple[Item, ...]:
    """The items of a JSONL file, the first `limit` of them.

    A line has a context (`context`, `question`, `query` or `ctx`), choices (`choices` or `endings`: a list, or `text`
    and `label` lists as ARC has them) and an answer (`answer`, `gold`, `label` or `answerKey`: a place, counted from 0,
    or one of the labels, which are A, B, C, ... where none are given).

    Raises:
        ItemError: the file cannot be read, or a line is no item; it is named.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ItemError(f"{file} cannot be read: {error}; give a JSONL file of multiple-choice items") from error
    items = [_item(f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not items:
        raise ItemError(f'{file} holds no items; give lines such as {{"context": ..., "choices": [...], "answer": 0}}')
    return tuple(items[:limit])


def file_fingerprint(file: Path) -> str:
    """SHA-256 of the file's bytes.

    Raises:
        ItemError: it cannot be read.
    """
    try:
        return "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ItemError(f"{file} cannot be read: {error}; give a JSONL file of multiple-choice items") from error


def _item(place: str, line: str) -> Item:
    try:
        given = parse_json(line)
    except ValueError as error:
        raise ItemError(f"{place}: not JSON ({error}); give one item a line") from error
    if not isinstance(given, dict):
        raise ItemError(f"{place}: expected an object with context, choices and answer; found {type(given).__name__}")
    context, choices, answer = (_field(place, given, names) for names in (_CONTEXT, _CHOICES, _ANSWER))
    labels = choices.get("label", []) if isinstance(choices, dict) else []
    if not isinstance(labels, list):
        raise ItemError(f"{place}: choices.label must be a list of names, got {clipped(labels)}")
    texts = choices.get("text") if isinstance(choices, dict) else choices
    if not isinstance(texts, list) or len(texts) < 2 or not all(isinstance(text, str) and text for text in texts):
        raise ItemError(f"{place}: choices must be two or more texts, got {clipped(texts)}")
    return Item(context=str(context), choices=tuple(texts), answer=_answer(place, answer, labels, len(texts)))


def _field(place: str, given: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in given:
            return given[name]
    raise ItemError(f"{place}: no {names[0]} (or {', '.join(names[1:])}); its keys are {', '.join(given) or 'none'}")


def _answer(place: str, given: Any, labels: Sequence[Any], n: int) -> int:
    names = [str(label) for label in labels] or [chr(ord("A") + index) for index in range(n)]
    if str(given) in names:
        return names.index(str(given))
    if str(given).isdecimal() and int(given) < n:
        return int(given)
    raise ItemError(
        f"{place}: answer is {clipped(given)}; give a place from 0 to {n - 1}, or one of {', '.join(names)}"
    )


def choice_log_probabilities(
    model: Any, tokenizer: Tokenizer, items: Sequence[Item], *, batch_tokens: int
) -> list[Float[np.ndarray, " _"]]:
    """ln p(choice | context) of each choice of each item, in nats."""
    pairs = [(item.context, choice) for item in items for choice in item.choices]
    requests = [request_of(tokenizer, context, _DELIMITER + choice) for context, choice in pairs]
    found = iter(score(model, requests, batch_tokens=batch_tokens, longest=longest_input(model)))
    return [np.array([next(found).log_probability for _ in item.choices]) for item in items]


def choice_measurements(
    items: Sequence[Item], found: Sequence[Float[np.ndarray, " _"]], *, draw: int | None, sign: int | None
) -> list[Measurement]:
    """What the log-probabilities l_c of the choices say, a block an item.

    `acc`: argmax l_c is the answer. `acc_norm`: argmax l_c / bytes of c is. `answer_nats`: l of the answer.
    `margin_nats`: l of the answer minus the largest other l; negative where it is wrong.
    """
    columns: dict[str, list[float]] = {"acc": [], "acc_norm": [], "answer_nats": [], "margin_nats": []}
    for item, nats in zip(items, found, strict=True):
        lengths = np.array([len(choice.encode()) for choice in item.choices])
        columns["acc"].append(float(nats.argmax() == item.answer))
        columns["acc_norm"].append(float((nats / lengths).argmax() == item.answer))
        columns["answer_nats"].append(float(nats[item.answer]))
        columns["margin_nats"].append(float(nats[item.answer] - np.delete(nats, item.answer).max()))
    return [
        Measurement(
            metric=metric,
            value=math.fsum(values) / len(values),
            draw=draw,
            sign=sign,
            blocks=tuple(values),
            count=(1,) * len(values),
        )
        for metric, values in columns.items()
    ]
