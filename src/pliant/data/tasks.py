"""Fine-tuning tasks as arrays: what is read, what is scored, and which tokens are labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from pliant.data.corpora import Split
from pliant.data.markov import MarkovLanguage
from pliant.data.text_tasks import Example, TextTask
from pliant.data.tokenizers import Tokenizer
from pliant.records.identity import digest

IGNORED = -100
_MARKOV_WINDOWS: dict[Split, int] = {"train": 16384, "validation": 512, "test": 1024}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedSplit:
    """Rows of token ids; `targets` is `IGNORED` wherever no loss is taken (prompts, padding).

    `block_starts` holds the first row of each block whose losses are summed; None: blocks of equally many rows.
    `segments` numbers the examples that share a row, 0.. in each row, padding last: a position attends to its own
    segment alone. None: a row is one.
    """

    inputs: Int[np.ndarray, "rows length"]
    targets: Int[np.ndarray, "rows length"]
    block_starts: Int[np.ndarray, " blocks"] | None = None
    segments: Int[np.ndarray, "rows length"] | None = None

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedTask:
    """A task in one tokenizer and context. `label_tokens` is empty where there is no accuracy to report.

    `truncated` counts the examples whose prompt lost its beginning to fit the context, `cut_responses` those whose
    response lost its end. `notes` says what was cut and left out, for people.
    """

    name: str
    fingerprint: str
    splits: Mapping[Split, EncodedSplit]
    label_tokens: tuple[int, ...]
    truncated: int
    cut_responses: int = 0
    notes: tuple[str, ...] = ()


class TaskError(ValueError):
    """A task that does not fit the tokenizer, the context, or the pre-training data."""


def encode_markov_task(language: MarkovLanguage, context: int) -> EncodedTask:
    """Fresh windows of a relative of the pre-training language; every target is scored."""
    splits: dict[Split, EncodedSplit] = {}
    for number, (split, rows) in enumerate(_MARKOV_WINDOWS.items()):
        windows = language.sample(rows, context + 1, np.random.default_rng([language.seed, 1000 + number]))
        splits[split] = EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:])
    return EncodedTask(
        name=language.relative,
        fingerprint="sha256:" + digest([language.fingerprint, list(_MARKOV_WINDOWS.values()), context], length=64),
        splits=splits,
        label_tokens=(),
        truncated=0,
    )


def encode_text_task(task: TextTask, tokenizer: Tokenizer, context: int) -> EncodedTask:
    """Tokenise a task. Examples without prompts are cut into full windows; the others get a row each.

    Raises:
        TaskError: an answer longer than the context, or labels that do not begin with different tokens.
    """
    truncated, total = 0, sum(map(len, task.splits.values()))
    splits: dict[Split, EncodedSplit] = {}
    for split, examples in task.splits.items():
        if any(example.prompt for example in examples):
            splits[split], cut = _rows(examples, tokenizer, context, task.name)
            truncated += cut
        else:
            splits[split] = _continuous(examples, tokenizer, context)
        if not len(splits[split]):
            raise TaskError(f"task {task.name}: its {split} split is shorter than one window of {context} tokens")
    return EncodedTask(
        name=task.name,
        fingerprint="sha256:" + digest([task.fingerprint, tokenizer.fingerprint, context], length=64),
        splits=splits,
        label_tokens=label_tokens(task.name, task.labels, tokenizer),
        truncated=truncated,
        notes=(f"{task.name}: {truncated:,} of {total:,} prompts lost their beginning to fit {context} tokens",)
        if truncated
        else (),
    )


def _continuous(examples: Sequence[Example], tokenizer: Tokenizer, context: int) -> EncodedSplit:
    separator = np.asarray(tokenizer.separator, dtype=np.int64)
    pieces = [part for ids in tokenizer.encode(e.answer for e in examples) for part in (ids, separator)]
    stream = np.concatenate(pieces)
    rows = (len(stream) - 1) // context
    windows = stream[np.arange(rows)[:, None] * context + np.arange(context + 1)]
    return EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:])


def _rows(examples: Sequence[Example], tokenizer: Tokenizer, context: int, name: str) -> tuple[EncodedSplit, int]:
    inputs = np.zeros((len(examples), context), dtype=np.int64)
    targets = np.full((len(examples), context), IGNORED, dtype=np.int64)
    prompts = tokenizer.encode(example.prompt for example in examples)
    answers = tokenizer.encode(example.answer for example in examples)
    truncated = 0
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if not 0 < len(answer) <= context:
            raise TaskError(f"task {name}: an answer of {len(answer)} tokens does not fit a context of {context}")
        room = context + 1 - len(answer)
        truncated += len(prompt) > room
        ids = np.concatenate([prompt[-room:], answer])
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, len(ids) - 1 - len(answer) : len(ids) - 1] = answer
    return EncodedSplit(inputs=inputs, targets=targets), truncated


def label_tokens(name: str, labels: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token that each label begins with.

    Raises:
        TaskError: two of them begin with the same one.
    """
    tokens = tuple(int(ids[0]) for ids in tokenizer.encode(labels))
    if len(set(tokens)) != len(tokens):
        raise TaskError(f"task {name}: two labels begin with the same token; the tokenizer cannot tell them apart")
    return tokens
