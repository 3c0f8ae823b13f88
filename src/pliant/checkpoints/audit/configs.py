"""Whether config.json, tensors and tokenizer of each checkpoint fit one another and those of the rest."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pliant.checkpoints.audit.finding import Finding, named
from pliant.checkpoints.audit.inspection import Inspection
from pliant.checkpoints.weights import StoredTensor
from pliant.records.identity import Json

_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
_RUNTIME = frozenset({"transformers_version", "_name_or_path", "use_cache", "dtype", "torch_dtype", "architectures"})
"""Keys of config.json that do not change what the weights mean; dtype is compared with the tensors instead."""

Value = TypeVar("Value")


def config_findings(inspections: Sequence[Inspection]) -> tuple[Finding, ...]:
    """Tensors against the config and among checkpoints: shapes, number of layers, dtypes, settings."""
    whole = [one for one in inspections if one.tensors]
    readable = [one for one in inspections if one.config is not None]
    unreadable = tuple(one.name for one in inspections if one.config is None)
    damaged = Finding(
        check="config", level="error", checkpoints=unreadable, message="has a config.json that is no JSON object"
    )
    return (
        *((damaged,) if unreadable else ()),
        *(finding for one in whole for finding in against_config(one)),
        *_unlike(whole, _shapes, lambda odd, usual: _other_shapes(odd, usual)),
        *_unlike(whole, lambda one: one.dtype, lambda odd, usual: _other_dtype(odd, usual)),
        *_unlike(readable, _settings, lambda odd, usual: _other_settings(odd, usual)),
    )


def tokenizer_findings(inspections: Sequence[Inspection]) -> tuple[Finding, ...]:
    """Another tokenizer than the rest, or one with more tokens than the model embeds."""
    with_one = [one for one in inspections if one.tokenizer is not None]
    large = [
        Finding(
            check="tokenizer",
            level="error",
            checkpoints=(one.name,),
            message=f"has a tokenizer with {one.vocabulary:,} ids and a model that embeds {rows[0]:,}",
        )
        for one in with_one
        if (rows := _embedding(one.tensors)) and one.vocabulary and one.vocabulary > rows[0]
    ]
    return (*large, *_unlike(with_one, lambda one: one.tokenizer, lambda odd, usual: _other_tokenizer(odd)))


def against_config(one: Inspection) -> Iterator[Finding]:
    """The tensors of one checkpoint against its own config.json: shapes and dtype."""
    config = one.config or {}
    embedding = _embedding(one.tensors)
    layers = {int(match[1]) for name in one.tensors if (match := _LAYER.search(name))}
    found = {
        "vocab_size": embedding[0] if embedding else None,
        "hidden_size": embedding[1] if embedding else None,
        "num_hidden_layers": max(layers) + 1 if layers else None,
    }
    wrong = [
        f"{key} {config[key]} in config.json, {stored} in the tensors"
        for key, stored in found.items()
        if stored is not None and isinstance(config.get(key), int) and config[key] != stored
    ]
    if wrong:
        message = f"does not fit its config: {'; '.join(wrong)}"
        yield Finding(check="shape", level="error", checkpoints=(one.name,), message=message)
    stated = config.get("dtype") or config.get("torch_dtype")
    if isinstance(stated, str) and stated in _DTYPES and _DTYPES[stated] != one.dtype:
        message = f"is stored in {one.dtype}, its config.json says {stated}"
        yield Finding(check="dtype", level="warning", checkpoints=(one.name,), message=message)


def _embedding(tensors: Mapping[str, StoredTensor]) -> tuple[int, ...] | None:
    shapes = [tensor.shape for name, tensor in tensors.items() if _EMBEDDINGS.search(name)]
    return shapes[0] if shapes and len(shapes[0]) == 2 else None


def _unlike(
    inspections: Sequence[Inspection],
    key: Callable[[Inspection], Value],
    say: Callable[[Sequence[Inspection], Inspection], Finding],
) -> Iterator[Finding]:
    """A finding for each group whose key is not the most frequent one; of equally frequent ones, the last."""
    groups: list[tuple[Value, list[Inspection]]] = []
    for one in inspections:
        value = key(one)
        for known, members in groups:
            if known == value:
                members.append(one)
                break
        else:
            groups.append((value, [one]))
    usual = max(reversed(groups), key=lambda group: len(group[1]), default=None)
    for group in groups:
        if usual is not None and group is not usual:
            yield say(group[1], usual[1][0])


def _names(group: Sequence[Inspection]) -> tuple[str, ...]:
    return tuple(one.name for one in group)


def _shapes(one: Inspection) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in one.tensors.items()}


def _settings(one: Inspection) -> dict[str, Json]:
    return {key: value for key, value in (one.config or {}).items() if key not in _RUNTIME}


def _other_shapes(odd: Sequence[Inspection], usual: Inspection) -> Finding:
    here, there = _shapes(odd[0]), _shapes(usual)
    name = next(name for name in sorted({*here, *there}) if here.get(name) != there.get(name))
    message = (
        f"is of another shape than {usual.name}: {name} is {_shape(here.get(name))}, not {_shape(there.get(name))}"
    )
    return Finding(check="shape", level="error", checkpoints=_names(odd), message=message)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a single number"


def _other_dtype(odd: Sequence[Inspection], usual: Inspection) -> Finding:
    message = f"is stored in {odd[0].dtype}, most are in {usual.dtype}: part of a difference may be rounding"
    return Finding(check="dtype", level="warning", checkpoints=_names(odd), message=message)


def _other_settings(odd: Sequence[Inspection], usual: Inspection) -> Finding:
    here, there = _settings(odd[0]), _settings(usual)
    keys = tuple(key for key in sorted({*here, *there}) if here.get(key) != there.get(key))
    message = f"has a config.json that differs from that of {usual.name} in {named(keys)}"
    return Finding(check="config", level="warning", checkpoints=_names(odd), message=message)


def _other_tokenizer(odd: Sequence[Inspection]) -> Finding:
    message = "comes with another tokenizer than the rest: the same text gives other tokens"
    return Finding(check="tokenizer", level="error", checkpoints=_names(odd), message=message)
