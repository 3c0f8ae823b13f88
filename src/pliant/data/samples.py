"""Examples to fine-tune on, whatever form their rows have: messages, prompt and completion, dialogue, text."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ASSISTANT = "assistant"
ROLES = frozenset({"system", "user", ASSISTANT, "tool"})
FORMS = "messages, or prompt and completion, or instruction and output, or chosen, or text"
_SPEAKER = re.compile(r"\n\n(Human|Assistant):[ ]?")
_ROLES = {"Human": "user", "Assistant": ASSISTANT}


class SampleError(ValueError):
    """A row that is no example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One example: messages, of which those of the assistant are learned.

    A `plain` one is written as it is, prompt then answer; the others go through a chat template.
    """

    messages: tuple[Message, ...]
    plain: bool = False

    @property
    def responses(self) -> tuple[str, ...]:
        return tuple(message.content for message in self.messages if message.role == ASSISTANT)

    @property
    def is_empty(self) -> bool:
        """Whether there is no response, or one of nothing but blanks."""
        return not all(response.strip() for response in self.responses) or not self.responses

    @property
    def key(self) -> bytes:
        """A hash of what comes before the last response, of the response itself where nothing does: examples that
        share it ask the same thing."""
        before = self.messages[:-1] or self.messages
        return hashlib.sha256(json.dumps([[m.role, m.content] for m in before]).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that hold the examples, where they have other names than `FORMS`."""

    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) != (self.completion is None):
            raise ValueError("prompt and completion name columns together; give both")
        if sum(name is not None for name in (self.messages, self.prompt, self.text)) > 1:
            raise ValueError("name the columns of one form: messages, prompt with completion, or text")


def plain(prompt: str, answer: str) -> Sample:
    """A prompt and its answer, written one after the other."""
    return Sample(messages=(Message(role="user", content=prompt), Message(role=ASSISTANT, content=answer)), plain=True)


def text_sample(text: str) -> Sample:
    """Text to continue, without a prompt."""
    return Sample(messages=(Message(role=ASSISTANT, content=text),), plain=True)


def sample_of(row: Mapping[str, Any], columns: Columns) -> Sample:
    """The example in `row`, by the columns that it has: the first form of `FORMS` that is there.

    Raises:
        SampleError: none of the forms, or a column that does not hold what its form says.
    """
    if columns.text or (columns == Columns() and "text" in row and not _has_dialogue(row)):
        return text_sample(_string(row, columns.text or "text"))
    if columns.messages or (columns == Columns() and "messages" in row):
        return _sample(_messages(row, columns.messages or "messages"))
    if columns.prompt and columns.completion:
        return _pair(row, columns.prompt, columns.completion)
    if {"prompt", "completion"} <= row.keys():
        return _pair(row, "prompt", "completion")
    if {"instruction", "output"} <= row.keys():
        return _instruction(row)
    if "chosen" in row:
        return _sample(_messages(row, "chosen") if isinstance(row["chosen"], list) else _dialogue(row))
    raise SampleError(
        f"columns {sorted(row)}, expected {FORMS}; name yours, such as {{prompt: question, completion: answer}}"
    )


def check_unicode(sample: Sample) -> None:
    """
    Raises:
        SampleError: half of a surrogate pair, which JSON can write and no text contains.
    """
    for message in sample.messages:
        try:
            message.content.encode()
        except UnicodeEncodeError as error:
            half = message.content[error.start]
            raise SampleError(
                f"{half!r} at character {error.start} of its {message.role} is half a character; delete it"
            ) from error


def _has_dialogue(row: Mapping[str, Any]) -> bool:
    return any(forms <= row.keys() for forms in ({"messages"}, {"prompt", "completion"}, {"instruction", "output"}))


def _sample(messages: Sequence[Message]) -> Sample:
    """Without what follows the last response: nothing there is learned.

    Raises:
        SampleError: roles of another naming, such as human and gpt.
    """
    roles = {message.role for message in messages}
    if ASSISTANT not in roles and roles - ROLES:
        raise SampleError(f"the roles are {', '.join(sorted(roles))}, expected {', '.join(sorted(ROLES))}; rename them")
    last = max((at for at, message in enumerate(messages, start=1) if message.role == ASSISTANT), default=0)
    return Sample(messages=tuple(messages[:last]))


def _pair(row: Mapping[str, Any], prompt: str, completion: str) -> Sample:
    if isinstance(row.get(prompt), list) and isinstance(row.get(completion), list):
        return _sample([*_messages(row, prompt), *_messages(row, completion)])
    return plain(_string(row, prompt), _string(row, completion))


def _instruction(row: Mapping[str, Any]) -> Sample:
    """Instruction, and its input below where there is one."""
    given = _string(row, "input") if row.get("input") else ""
    asked = "\n\n".join(filter(None, [_string(row, "instruction"), given]))
    answer = Message(role=ASSISTANT, content=_string(row, "output"))
    return Sample(messages=(Message(role="user", content=asked), answer))


def _messages(row: Mapping[str, Any], column: str) -> list[Message]:
    found = row.get(column)
    if not isinstance(found, list) or not all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in found):
        raise SampleError(
            f'"{column}" is {_kind(found)}, expected a list of {{"role": ..., "content": ...}} '
            f"(columns {sorted(row)}); convert it, or name another column"
        )
    for message in found:
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            raise SampleError(
                f'"{column}" holds a message whose role is {_kind(message["role"])} and whose content is '
                f"{_kind(message['content'])}, expected text in both"
            )
    return [Message(role=message["role"], content=message["content"]) for message in found]


def _dialogue(row: Mapping[str, Any]) -> list[Message]:
    """Turns of Anthropic-HH: "\\n\\nHuman: ...\\n\\nAssistant: ..."; two turns of one speaker in a row are one."""
    before, *parts = _SPEAKER.split(_string(row, "chosen"))
    if before.strip() or not parts:
        raise SampleError(
            f'"chosen" begins {before[:40]!r}, expected turns that begin with a blank line and "Human:" or "Assistant:"'
        )
    messages: list[Message] = []
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        role, content = _ROLES[speaker], words.strip()
        if messages and messages[-1].role == role:
            content = "\n\n".join(filter(None, [messages.pop().content, content]))
        messages.append(Message(role=role, content=content))
    return messages


def _string(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise SampleError(f'columns {sorted(row)}, expected "{column}" among them')
    value = row[column]
    if not isinstance(value, str):
        raise SampleError(f'"{column}" is {_kind(value)}, expected a string')
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
