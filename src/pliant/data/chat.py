"""Conversations as text by a chat template, and as tokens of which those of the responses are scored."""

import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from pliant.data.samples import ASSISTANT, Message, Sample
from pliant.data.task_setting import Template
from pliant.data.tokenizers import BLANK_LINE, Tokenizer
from pliant.records.outside import clipped

_TODAY = "26 Jul 2024"
"""The date that some templates write, fixed: a task must be the same tomorrow."""


class ChatError(ValueError):
    """A chat template that cannot write a conversation, or leaves its answer out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """The tokens of one example; `scored` are those that the model is to predict."""

    ids: Int[np.ndarray, " tokens"]
    scored: Bool[np.ndarray, " tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as text; `responses` are the characters [start, end) of what the assistant writes, the mark that
    ends its turn included."""

    text: str
    responses: tuple[tuple[int, int], ...]


def chosen_template(asked: Template | None, tokenizer: Tokenizer) -> Template:
    """The template of conversations: the tokenizer's own if it has one, unless another is asked for.

    Raises:
        ChatError: its own is asked for and there is none.
    """
    has_own = getattr(tokenizer.backend, "chat_template", None) is not None
    if asked == "model" and not has_own:
        raise ChatError(f"template: model, but the tokenizer {tokenizer.name} has no chat template; leave it out")
    return asked or ("model" if has_own else "default")


def render(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Rendered:
    """One conversation as text.

    Raises:
        ChatError: the template refuses it, or the text does not contain a response.
    """
    if template == "default":
        return _default(messages, ending(tokenizer))
    return _by_model(messages, tokenizer)


def ending(tokenizer: Tokenizer) -> str:
    """What ends a response where no chat template says: the end token, else a blank line."""
    return tokenizer.backend.eos_token or BLANK_LINE


def _default(messages: Sequence[Message], end: str) -> Rendered:
    """The template of Tülu: "<|user|>\\n...\\n<|assistant|>\\n...END", each part on its own lines, as plain text."""
    text, responses = "", []
    for message in messages:
        text += f"<|{message.role}|>\n"
        start = len(text)
        text += message.content
        if message.role == ASSISTANT:
            text += end
            responses.append((start, len(text)))
        text += "" if text.endswith("\n") else "\n"
    return Rendered(text=text, responses=tuple(responses))


def _by_model(messages: Sequence[Message], tokenizer: Tokenizer) -> Rendered:
    """A response is what changes in the text when another one stands in its place. Where that is not the response as
    given, as of thoughts that a template takes apart, it is looked for behind what the template writes before it."""
    text = _apply(messages, tokenizer)
    responses = []
    for at, message in enumerate(messages):
        if message.role == ASSISTANT:
            upto = text if at == len(messages) - 1 else _apply(messages[: at + 1], tokenizer)
            start, end = _changing(messages, at, text, tokenizer)
            if text[start:end].strip() == message.content.strip():
                stop = _shared(text, upto)
                if stop < end:  # the template writes its last turn in another way
                    _, there = _changing(messages[: at + 1], at, upto, tokenizer)
                    stop = end + _shared(text[end:], upto[there:])
                responses.append(_with_mark(text, start, end, stop))
            else:
                before = _apply(messages[:at], tokenizer, prompt=True) if at else ""
                region = (_shared(text, before), _shared(text, upto))
                responses.append(_response(text, message.content, region, tokenizer.name))
    return Rendered(text=text, responses=tuple(responses))


def _changing(messages: Sequence[Message], at: int, text: str, tokenizer: Tokenizer) -> tuple[int, int]:
    """The characters of `text`, which is that of `messages`, that are others with another response at `at`."""
    content = messages[at].content.strip()
    word = next(digit for digit in "012" if digit not in (content[:1], content[-1:]))
    other = _apply([*messages[:at], Message(role=ASSISTANT, content=word), *messages[at + 1 :]], tokenizer)
    return _shared(text, other), len(text) - _shared(text[::-1], other[::-1])


def _with_mark(text: str, start: int, end: int, stop: int) -> tuple[int, int]:
    """From the response's first character to the mark that ends its turn, which lies before `stop`; blanks after the
    mark are not written by the model."""
    mark = text[end:stop].rstrip()
    return start, end + len(mark) if mark else stop


def _response(text: str, content: str, region: tuple[int, int], name: str) -> tuple[int, int]:
    start, stop = region
    written = content if content in text[start:stop] else content.strip()
    at = text.find(written, start, stop)
    if at < 0:
        raise ChatError(
            f"the chat template of {name} drops the answer: its text does not contain {content[:40]!r}; "
            "set template: default, or repair chat_template"
        )
    return _with_mark(text, at, at + len(written), stop)


def _shared(left: str, right: str) -> int:
    return len(os.path.commonprefix([left, right]))  # noqa: RUF071  # characters are what is compared


def _apply(messages: Sequence[Message], tokenizer: Tokenizer, *, prompt: bool = False) -> str:
    given = [{"role": message.role, "content": message.content} for message in messages]
    options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": prompt, "date_string": _TODAY}
    try:
        return str(tokenizer.backend.apply_chat_template(given, **options))
    except Exception as error:  # a template is a program of its own: it divides by zero, or calls what is no function
        roles = ", ".join(message.role for message in messages[:6])
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ChatError(
            f"the chat template of {tokenizer.name} refuses a conversation of {clipped(roles)} ({said[:200]}); "
            "set template: default"
        ) from error


def scored_tokens(
    samples: Iterable[Sample], tokenizer: Tokenizer, *, template: Template | None, beginning: tuple[int, ...], end: bool
) -> Iterator[Scored]:
    """The tokens of each sample, in order.

    A plain one is prompt and answer encoded one by one, as they are when a model is asked, then (`end`) what separates
    documents; with a `template` it is a conversation like the others. `beginning` is put before what is not written by
    the tokenizer's own template, which writes its own.

    Raises:
        ChatError: see `render`.
    """
    known = list(samples)
    if template is None and all(sample.plain for sample in known):
        yield from _plain_tokens(known, tokenizer, beginning, tokenizer.separator if end else ())
        return
    chosen = chosen_template(template, tokenizer)
    head = np.asarray(beginning if chosen == "default" else (), dtype=np.int64)
    rendered = [render(sample.messages, chosen, tokenizer) for sample in known]
    for one, (ids, spans) in zip(rendered, tokenizer.located(r.text for r in rendered), strict=True):
        scored = np.zeros(len(head) + len(ids), dtype=bool)
        for start, stop in one.responses:
            scored[len(head) :] |= (spans[:, 0] < stop) & (spans[:, 1] > start)
        yield Scored(ids=np.concatenate([head, ids]), scored=scored)


def _plain_tokens(
    samples: Sequence[Sample], tokenizer: Tokenizer, beginning: tuple[int, ...], end: tuple[int, ...]
) -> Iterator[Scored]:
    prompts = tokenizer.encode(sample.messages[0].content for sample in samples)
    answers = tokenizer.encode(sample.messages[1].content for sample in samples)
    for prompt, answer in zip(prompts, answers, strict=True):
        before, after = np.asarray(beginning, dtype=np.int64), np.asarray(end, dtype=np.int64)
        ids = np.concatenate([before, prompt, answer, after])
        scored = np.arange(len(ids)) >= len(before) + len(prompt)
        yield Scored(ids=ids, scored=scored)
