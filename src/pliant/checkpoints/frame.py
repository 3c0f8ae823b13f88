"""What two checkpoints must have in common for one model to hold the weights of either."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pliant.checkpoints.stored import DTYPES, FLOATING
from pliant.checkpoints.weights import StoredTensor
from pliant.records.identity import Json
from pliant.records.outside import parse_json

_OF_NO_EFFECT = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype"})
"""Fields of a config that say where a model was saved and how; every model here is opened in fp32."""


_READ = ("config.json", "generation_config.json", "adapter_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """All that transformers reads from a folder but the values of the tensors.

    Equal frames build equal models: settings (config and generation), the code that a folder brings along and whether
    it may run, names and shapes of the stored tensors. Whether a float is stored in 16, 32 or 64 bits is not part.
    """

    settings: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    trusted: bool
    tensors: frozenset[tuple[str, tuple[int, ...], str]]


def frame_of(folder: Path, tensors: Mapping[str, StoredTensor], *, trusted: bool) -> Frame | None:
    """The frame of `folder`, whose safetensors hold `tensors`; None for pickled weights and dtypes not read here."""
    if not tensors or any(tensor.dtype not in DTYPES for tensor in tensors.values()):
        return None
    kinds = {name: "float" if tensor.dtype in FLOATING else tensor.dtype for name, tensor in tensors.items()}
    return Frame(
        settings=settings_of(folder),
        code=tuple(
            (file.name, file.read_text(encoding="utf-8", errors="replace")) for file in sorted(folder.glob("*.py"))
        ),
        trusted=trusted,
        tensors=frozenset((name, tensor.shape, kinds[name]) for name, tensor in tensors.items()),
    )


def settings_of(folder: Path) -> tuple[str, ...]:
    """What config.json and its kin say, but for fields without effect on the model; "" for a file that is not there."""
    return tuple(_settings(folder / name) for name in _READ)


def _settings(file: Path) -> str:
    return _in_one_spelling(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ""


@lru_cache(maxsize=64)
def _in_one_spelling(text: str) -> str:
    """The settings sorted by name; the text as it is where it is no JSON, for transformers to refuse."""
    try:
        return json.dumps(_of_effect(parse_json(text)), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _of_effect(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _of_effect(entry) for name, entry in value.items() if name not in _OF_NO_EFFECT}
    return value
