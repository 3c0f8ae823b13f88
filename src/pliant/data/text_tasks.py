"""Embedded tasks to fine-tune on: a prompt, and an answer on which alone the loss is taken."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pliant.data.arithmetic import problems
from pliant.data.corpora import SPLITS, Split, fingerprint_of, read_asset
from pliant.records.identity import canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """A task in three splits. `labels` are all possible answers of a classification, () of other tasks."""

    name: str
    description: str
    licence: str
    labels: tuple[str, ...]
    fingerprint: str
    splits: Mapping[Split, tuple[Example, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    description: str
    licence: str
    labels: tuple[str, ...] = ()


_KINDS = {
    "python": _Kind(
        description="Python code: pieces of CPython's standard library of 64 to 1000 bytes, all of it scored",
        licence="PSF-2.0; Copyright (c) 2001-2023 Python Software Foundation; see NOTICE",
    ),
    "book": _Kind(
        description="Which book is this from: K, King James Bible; M, Moby-Dick; S, State of the Union",
        licence="CC0-1.0 and PDDL-1.0 (M, S), public domain (K); see NOTICE",
        labels=("K", "M", "S"),
    ),
    "arithmetic": _Kind(
        description="Word problems with one or two steps of +, - or x, answered by a number",
        licence="generated; CC0-1.0",
    ),
    "glosses": _Kind(
        description="What a word means: the gloss of a word's first sense in WordNet, at most 62 bytes with the word",
        licence="WordNet licence; Copyright 2011 by Princeton University; see NOTICE",
    ),
    "field": _Kind(
        description="Which field is this meaning from: A, act; H, human being; P, plant; Q, quality",
        licence="WordNet licence; Copyright 2011 by Princeton University; see NOTICE",
        labels=("A", "H", "P", "Q"),
    ),
}
TEXT_TASKS = tuple(sorted(_KINDS))


def open_text_task(name: str) -> TextTask:
    """The embedded task `name`.

    `python`: no prompt; every split holds other packages of the library and no run of 13 words of another.
    `book`: a line of 40 to 60 bytes, then its label; three equally frequent labels, so the majority baseline
    is 1/3. The lines come from documents that the corpus "english" does not contain, divided by document.
    `arithmetic`: at most 64 bytes, answer included; no template meets the same numbers in two splits.
    `glosses`: `guest (noun): `, then what it means, at most 62 bytes in all; the words are those that occur in the
    texts WordNet counted.
    `field`: a gloss of 16 to 60 bytes, then its label, the lexicographer file of the meaning (noun.act, noun.person,
    noun.plant, noun.attribute); four equally frequent labels, so the majority baseline is 1/4.
    No two examples of `glosses`, or of `field`, come from the same word or have 60 % of the words of their glosses
    in common.

    Raises:
        ValueError: no embedded task has this name.
    """
    if name not in _KINDS:
        raise ValueError(f'no embedded task "{name}": give one of {", ".join(TEXT_TASKS)}')
    return _open(name)


@functools.cache
def _open(name: str) -> TextTask:
    rows = _arithmetic_rows() if name == "arithmetic" else _asset_rows(name)
    splits = {
        split: tuple(Example(prompt=prompt, answer=answer) for own, prompt, answer in rows if own == split)
        for split in SPLITS
    }
    kind = _KINDS[name]
    return TextTask(
        name=name,
        description=kind.description,
        licence=kind.licence,
        labels=kind.labels,
        fingerprint=fingerprint_of(canonical_json([list(row) for row in rows]).encode()),
        splits=MappingProxyType(splits),
    )


def _asset_rows(name: str) -> list[tuple[str, str, str]]:
    lines = (json.loads(line) for line in read_asset(name).splitlines())
    return [(line["split"], line["prompt"], line["answer"]) for line in lines]


def _arithmetic_rows() -> list[tuple[str, str, str]]:
    return [(split, prompt, answer) for split, pairs in problems().items() for prompt, answer in pairs]
