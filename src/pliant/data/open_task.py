"""From a task as a study names it to its encoded splits: embedded, public, local or of the Hub."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pliant.data.chat import ChatError, scored_tokens
from pliant.data.corpora import SPLITS, Split, fingerprint_of
from pliant.data.public_tasks import PUBLIC_TASKS
from pliant.data.rows import Fitted, fitted, one_a_row, packed
from pliant.data.samples import Sample
from pliant.data.task_rows import Samples, task_samples
from pliant.data.task_setting import TaskDataset, TaskFiles, TaskSetting, nearest, task_name, task_source
from pliant.data.tasks import IGNORED, EncodedSplit, EncodedTask, TaskError, encode_text_task, label_tokens
from pliant.data.text_tasks import TEXT_TASKS, Example, TextTask, open_text_task
from pliant.data.tokenizers import Tokenizer
from pliant.records.identity import canonical_json, digest


def encode_task(
    setting: TaskSetting, tokenizer: Tokenizer, *, context: int, beginning: tuple[int, ...] = ()
) -> EncodedTask:
    """The task in rows of `context`. `beginning` is put before every example that is not embedded.

    Raises:
        TaskError: no such task, or data that cannot be learned from in this context.
        ValueError: data that cannot be read.
    """
    source = task_source(setting)
    if isinstance(source, str):
        if source not in TEXT_TASKS:
            known = (*TEXT_TASKS, *PUBLIC_TASKS)
            raise TaskError(
                f"no task {source!r}{nearest(source, known)}; known are {', '.join(known)}; a file is {{path: FILE}}"
            )
        return encode_text_task(open_text_task(source), tokenizer, context)
    samples = task_samples(source)
    texts = [len(sample.messages) == 1 and sample.plain for some in samples.splits.values() for sample in some]
    if all(texts):
        return _text(source, samples, tokenizer, context)
    if any(texts):
        raise TaskError(
            f"task {task_name(source)}: {sum(texts):,} of its {len(texts):,} examples are text without a prompt; give "
            "the others to another task, or name the columns of all with text, or prompt and completion"
        )
    return _answers(source, samples, tokenizer, context, beginning)


def _text(source: TaskFiles | TaskDataset, samples: Samples, tokenizer: Tokenizer, context: int) -> EncodedTask:
    """Text without prompts: windows over the whole of it, as in pre-training."""
    for option in ("template", "pack"):
        if getattr(source, option) is not None:
            raise TaskError(f"task {task_name(source)}: {option} has no effect on text without prompts; leave it out")
    splits = {
        split: tuple(Example(prompt="", answer=sample.messages[-1].content) for sample in some)
        for split, some in samples.splits.items()
    }
    content = canonical_json([[split, example.answer] for split, some in splits.items() for example in some])
    task = TextTask(
        name=task_name(source),
        description=str(source),
        licence="that of its source",
        labels=(),
        fingerprint=fingerprint_of(content.encode()),
        splits=splits,
    )
    return replace(encode_text_task(task, tokenizer, context), notes=samples.notes)


def _answers(
    source: TaskFiles | TaskDataset, samples: Samples, tokenizer: Tokenizer, context: int, beginning: tuple[int, ...]
) -> EncodedTask:
    name = task_name(source)
    words = source.public.words if source.public is not None else ()
    _check_variety(name, samples.splits["train"], words)
    rows: dict[Split, list[Fitted]] = {}
    try:
        for split in SPLITS:
            some = samples.splits[split]
            tokens = scored_tokens(some, tokenizer, template=source.template, beginning=beginning, end=not words)
            rows[split] = [fitted(example, context, beginning) for example in tokens]
    except ChatError as error:
        raise TaskError(f"task {name}: {error}") from error
    _check_fit(name, rows["train"], context)
    labels = label_tokens(name, words, tokenizer)
    pack = source.pack if source.pack is not None else not words
    splits = {s: (packed if pack and s == "train" else one_a_row)(some, context) for s, some in rows.items()}
    _check_labels(name, labels, splits["test"])
    lost = [example.lost for some in rows.values() for example in some]
    return EncodedTask(
        name=name,
        fingerprint=_fingerprint(splits, labels, tokenizer),
        splits=splits,
        label_tokens=labels,
        truncated=lost.count("prompt"),
        cut_responses=lost.count("response"),
        notes=(*samples.notes, *_cuts(name, rows, context)),
    )


def _check_variety(name: str, train: Sequence[Sample], words: Sequence[str]) -> None:
    answers = {sample.responses[-1] for sample in train}
    if len(answers) == 1 and len(train) > 1:
        what = "label" if words else "response"
        raise TaskError(
            f"task {name}: every {what} of its {len(train):,} training examples is {min(answers)[:40]!r}, so there is "
            "nothing to learn; give examples of each kind"
        )


def _check_fit(name: str, train: Sequence[Fitted], context: int) -> None:
    if all(example.lost == "response" or not (example.targets != IGNORED).any() for example in train):
        raise TaskError(
            f"task {name}: none of the responses of its {len(train):,} training examples fits in a context of "
            f"{context} tokens; raise held_out.context, or give shorter ones"
        )


def _check_labels(name: str, labels: tuple[int, ...], split: EncodedSplit) -> None:
    """A label's first token must be the one that accuracy looks for, whatever was written before it."""
    if not labels:
        return
    first = (split.targets != IGNORED).argmax(axis=1)
    if not set(split.targets[range(len(split)), first].tolist()) <= set(labels):
        raise TaskError(f"task {name}: in the chat template labels begin with other tokens; leave template out")


def _fingerprint(splits: Mapping[Split, EncodedSplit], labels: tuple[int, ...], tokenizer: Tokenizer) -> str:
    """Over every token that is read, scored or kept apart."""
    total = hashlib.sha256()
    for split in SPLITS:
        one = splits[split]
        for array in (one.inputs, one.targets, one.segments):
            total.update(repr(None if array is None else array.shape).encode())
            total.update(b"" if array is None else array.tobytes())
    return "sha256:" + digest(["examples", total.hexdigest(), list(labels), tokenizer.fingerprint], length=64)


def _cuts(name: str, rows: Mapping[Split, Sequence[Fitted]], context: int) -> list[str]:
    """What was cut, a sentence for training and one for the held-out splits."""
    notes = []
    for which, some in (("training", rows["train"]), ("held-out", [*rows["validation"], *rows["test"]])):
        lost = [example.lost for example in some]
        prompts, responses = lost.count("prompt"), lost.count("response")
        if prompts or responses:
            notes.append(
                f"{name}: {prompts + responses:,} of {len(some):,} {which} examples were cut to {context} tokens "
                f"({prompts:,} lost the beginning of their prompt, {responses:,} the end of their response)"
            )
    return notes
