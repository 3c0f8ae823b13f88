"""What a trajectory is trained, fine-tuned and measured on, opened once a process."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pliant.data.corpora import Corpus, CorpusName, Split, corpus_source, open_corpus
from pliant.data.held_out import SEED, HeldOut, choose_documents, held_out_documents, held_out_windows
from pliant.data.hub_rows import pinned_rows
from pliant.data.hub_text import HubText, pinned
from pliant.data.markov import MARKOV_TASKS, MarkovLanguage, MarkovWindows
from pliant.data.open_task import encode_task
from pliant.data.streams import pack
from pliant.data.task_setting import TaskDataset, TaskSetting, task_name, task_source
from pliant.data.tasks import EncodedSplit, EncodedTask, TaskError, encode_markov_task
from pliant.data.tokenizers import Tokenizer, open_tokenizer
from pliant.data.windows import ShuffledStream, Windows, WindowSource
from pliant.execution.engine import UserError
from pliant.records.identity import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialSpec:
    """What to open: hashable, picklable, the same in every process.

    `held_out_bytes` asks for whole documents instead of windows. `outside` says that the models were not trained by
    pliant: their held-out rows begin as their tokenizer begins a text.
    """

    corpus: CorpusName
    tokenizer: str
    context: int
    held_out_split: str
    held_out_tokens: int
    task_rows: int
    tasks: tuple[TaskSetting, ...]
    held_out_bytes: int | None = None
    outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Materials:
    """Opened data. `held_out_fingerprint` names exactly the windows of `held_out`."""

    tokenizer: Tokenizer
    bytes_per_token: float | None
    held_out: EncodedSplit
    held_out_split: str
    held_out_fingerprint: str
    tasks: Mapping[str, EncodedTask]
    training: "Training"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Windows of training text on which a modification looks at activations; `fingerprint` names exactly these."""

    inputs: Windows
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """The pre-training data. Text is packed when it is first asked for: what only measures never reads it."""

    text: MarkovLanguage | Corpus
    tokenizer: Tokenizer
    context: int

    def calibration(self, tokens: int) -> "Calibration":
        """The first `tokens` tokens (whole windows, one at least) of training in the order of seed 0.

        Raises:
            UserError: the training split is shorter.
        """
        rows = max(1, tokens // self.context)
        source = self.source(0)
        if source.windows_per_epoch is not None and rows > source.windows_per_epoch:
            available = source.windows_per_epoch * self.context
            raise UserError(
                f"calibration_tokens is {tokens:,}, the training split has {available:,} in windows of {self.context}; "
                "lower calibration_tokens or give more text"
            )
        return Calibration(
            inputs=source.windows(0, rows)[:, :-1],
            fingerprint="sha256:" + digest([source.fingerprint, rows, self.context], length=64),
        )

    def source(self, seed: int) -> WindowSource:
        """The windows in the order of one seed.

        Raises:
            ValueError: the corpus has no text to train on.
        """
        if isinstance(self.text, MarkovLanguage):
            return MarkovWindows(language=self.text, stream="train", seed=seed, context=self.context)
        stream = pack(self.text, "train", self.tokenizer)
        return ShuffledStream(tokens=stream.tokens, fingerprint=stream.fingerprint, context=self.context, seed=seed)


def markov_language(corpus: CorpusName) -> MarkovLanguage | None:
    """`markov:7` -> the language of seed 7; None for text.

    Raises:
        ValueError: `markov:` without a whole number.
    """
    if not isinstance(corpus, str) or not corpus.startswith("markov"):
        return None
    match = re.fullmatch(r"markov:(\d+)", corpus)
    if match is None:
        raise ValueError(f"corpus {corpus!r}: expected markov:SEED with a whole number, such as markov:7")
    return MarkovLanguage(int(match[1]))


def settled_corpus(corpus: CorpusName, before: CorpusName | None) -> CorpusName:
    """`corpus`, a Hub dataset at one commit: the one that the study has `before`, else today's.

    Raises:
        ValueError: no such corpus, or a Hub dataset that cannot be read.
    """
    if markov_language(corpus):
        return corpus
    try:
        source = corpus_source(corpus)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    if not isinstance(source, HubText):
        return corpus
    if isinstance(before, HubText) and replace(before, revision=None) == source:
        return before
    return pinned(source)


def settled_task(task: TaskSetting, before: Collection[TaskSetting]) -> TaskSetting:
    """`task`, a Hub dataset at one commit: the one that the study's tasks `before` have, else today's.

    Raises:
        ValueError: a Hub dataset that cannot be read.
    """
    source = task_source(task)
    if not isinstance(source, TaskDataset):
        return source
    known = (one for one in before if isinstance(one, TaskDataset) and replace(one, revision=None) == source)
    return next(known, None) or pinned_rows(source)


@lru_cache(maxsize=64)  # planning goes through the trajectories more than once; a few MB each
def open_materials(spec: MaterialSpec) -> Materials:
    """Open everything a trajectory needs; the packed text comes from the cache folder when it is there.

    Raises:
        ValueError: the corpus, the tokenizer or a task does not open, or the held-out text is too short.
    """
    language = markov_language(spec.corpus)
    try:
        return _markov_materials(spec, language) if language else _text_materials(spec)
    except OSError as error:  # no such file, not readable, no room to pack it: the message names the file
        raise UserError(str(error)) from error


def _markov_materials(spec: MaterialSpec, language: MarkovLanguage) -> Materials:
    tasks = {task_name(task): _markov_task(task, language, spec) for task in spec.tasks}
    if spec.held_out_bytes is not None:
        raise UserError(f"held_out.by: documents has no effect on {spec.corpus}, which has none; leave it out")
    rows = max(1, spec.held_out_tokens // spec.context)
    held = MarkovWindows(language=language, stream=spec.held_out_split, seed=0, context=spec.context)
    windows = held.windows(0, rows)
    tokenizer = open_tokenizer(spec.tokenizer)
    return Materials(
        tokenizer=tokenizer,
        bytes_per_token=None,
        held_out=EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:]),
        held_out_split=spec.held_out_split,
        held_out_fingerprint="sha256:" + digest([held.fingerprint, rows, spec.context], length=64),
        tasks=tasks,
        training=Training(text=language, tokenizer=tokenizer, context=spec.context),
    )


def _markov_task(task: TaskSetting, language: MarkovLanguage, spec: MaterialSpec) -> EncodedTask:
    if not isinstance(task, str) or task not in MARKOV_TASKS:
        name = task_name(task)
        raise TaskError(f"no task {name!r} for the corpus {spec.corpus}; known are {', '.join(MARKOV_TASKS)}")
    relative = MarkovLanguage(language.seed, MARKOV_TASKS[task])
    return _fewer_rows(encode_markov_task(relative, spec.context), spec.task_rows)


def _text_materials(spec: MaterialSpec) -> Materials:
    tokenizer = open_tokenizer(spec.tokenizer)
    corpus = open_corpus(spec.corpus)
    held_out = _held_out(corpus, tokenizer, spec)
    beginning = tokenizer.beginning if spec.outside else ()
    encoded = [encode_task(task, tokenizer, context=spec.context, beginning=beginning) for task in spec.tasks]
    tasks = {task.name: _fewer_rows(task, spec.task_rows) for task in encoded}
    return Materials(
        tokenizer=tokenizer,
        bytes_per_token=held_out.bytes_per_token,
        held_out=held_out.rows,
        held_out_split=spec.held_out_split,
        held_out_fingerprint=held_out.fingerprint,
        tasks=tasks,
        training=Training(text=corpus, tokenizer=tokenizer, context=spec.context),
    )


def _held_out(corpus: Corpus, tokenizer: Tokenizer, spec: MaterialSpec) -> HeldOut:
    split: Split = "validation" if spec.held_out_split == "validation" else "test"
    beginning = tokenizer.beginning if spec.outside else ()
    if spec.held_out_bytes is None:
        return held_out_windows(
            corpus, split, tokenizer, context=spec.context, tokens=spec.held_out_tokens, beginning=beginning
        )
    texts = choose_documents(corpus, split, spec.held_out_bytes)
    return held_out_documents(texts, tokenizer, context=spec.context, beginning=beginning)


def _fewer_rows(task: EncodedTask, rows: int) -> EncodedTask:
    """The task with at most `rows` rows in validation and test, spread over the split by a fixed permutation."""
    splits = dict(task.splits)
    held_out: tuple[Split, ...] = ("validation", "test")
    for name in held_out:
        split = splits[name]
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(split))[:rows])
        splits[name] = EncodedSplit(inputs=split.inputs[chosen], targets=split.targets[chosen])
    return replace(task, fingerprint="sha256:" + digest([task.fingerprint, rows], length=64), splits=splits)
