"""What the files of one checkpoint say, weights read once and no model built; a broken checkpoint is described, too."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.audit.finding import Check, Finding
from pliant.checkpoints.audit.sketch import Sketch, read_sketch
from pliant.checkpoints.trainer_state import read_trainer_state
from pliant.checkpoints.trajectory import Member
from pliant.checkpoints.weights import StoredTensor, stored_fingerprint, stored_tensors
from pliant.records.identity import Json
from pliant.records.outside import parse_json

_DECIDING = ("model", "normalizer", "pre_tokenizer", "added_tokens")
"""The parts of tokenizer.json that decide which ids a text gets; padding and truncation are the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """A checkpoint as its files describe it. `tensors`, `sketch` and `fingerprint` are empty if weights are defective.

    `tokenizer` is a hash of what decides token ids; `vocabulary` is one more than the largest id.
    """

    name: str
    about: About
    format: str | None
    bytes: int
    defects: tuple[Finding, ...] = ()
    fingerprint: str | None = None
    tensors: Mapping[str, StoredTensor] = field(default_factory=dict)
    sketch: Sketch = field(default_factory=dict)
    config: Mapping[str, Json] | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None

    @property
    def at(self) -> int | None:
        """Where it says it lies: its tokens, else its step."""
        return self.about.tokens if self.about.tokens is not None else self.about.step

    @property
    def dtype(self) -> str | None:
        """The dtype of most of its weights."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            counts[tensor.dtype] += prod(tensor.shape)
        return counts.most_common(1)[0][0] if counts else None


def inspect(member: Member) -> Inspection:
    """Read what the files of `member` say; a defect becomes a finding, not an exception."""
    safe = sorted(member.folder.glob("model*.safetensors"))
    pickled = sorted(member.folder.glob("pytorch_model*.bin"))
    indexed = (member.folder / "model.safetensors.index.json").is_file()
    weights = safe if safe or indexed else pickled
    size = sum(file.stat().st_size for file in weights)
    kind = "safetensors" if safe or indexed else "pickled" if pickled else None
    tensors: dict[str, StoredTensor] = {}
    sketch: Sketch = {}
    fingerprint, defects = None, list(_damaged_facts(member))
    try:
        if kind == "safetensors":
            tensors = stored_tensors(member.folder)
            sketch = read_sketch(tensors)
        fingerprint = stored_fingerprint(member.folder) if kind else None
    except (CheckpointError, OSError) as error:
        defects.append(_defect(member, str(error)))
        tensors = {}
    if kind is None:
        defects.append(_error(member, "missing-shard", "has no weight files"))
    tokenizer, vocabulary = _tokenizer(member.folder / "tokenizer.json")
    return Inspection(
        name=member.name,
        about=member.about,
        format=kind,
        bytes=size,
        defects=tuple(defects),
        fingerprint=fingerprint,
        tensors=tensors,
        sketch=sketch,
        config=_json(member.folder / "config.json"),
        tokenizer=tokenizer,
        vocabulary=vocabulary,
    )


def _defect(member: Member, message: str) -> Finding:
    check: Check = "missing-shard" if re.search(r"shard .* is missing", message) else "cut-short"
    return _error(member, check, f"cannot be read: {_without_folder(member, message)}")


def _damaged_facts(member: Member) -> Iterator[Finding]:
    """pliant.json and trainer_state.json that are not what their writers write."""
    for read in (read_about, read_trainer_state):
        try:
            read(member.folder)
        except CheckpointError as error:
            yield _error(member, "config", f"comes with facts that are damaged: {_without_folder(member, str(error))}")


def _without_folder(member: Member, message: str) -> str:
    return message.replace(f"{member.folder}/", "").replace(f"{member.folder}: ", "").rstrip(".")


def _error(member: Member, check: Check, message: str) -> Finding:
    return Finding(check=check, level="error", checkpoints=(member.name,), message=message)


def _json(file: Path) -> dict[str, Json] | None:
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _tokenizer(file: Path) -> tuple[str | None, int | None]:
    if not file.is_file():
        return None, None
    content = _json(file)
    if content is None:
        return "unreadable", None
    decides = json.dumps([content.get(part) for part in _DECIDING], sort_keys=True)
    return hashlib.sha256(decides.encode()).hexdigest(), 1 + max(_ids(content), default=-1)


def _ids(content: Mapping[str, Json]) -> Iterator[int]:
    """Every id that tokenizer.json gives: of its vocabulary (by name, or a list of pieces) and of added tokens."""
    model, added = content.get("model"), content.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from (number for number in vocabulary.values() if isinstance(number, int))
    elif isinstance(vocabulary, list):
        yield from range(len(vocabulary))
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(number := token.get("id"), int):
            yield number
