"""Weighted sums of checkpoints: opened as one checkpoint, read tensor by tensor, or written as a folder."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.combined import known_weights, read_canonical
from pliant.checkpoints.folder import Checkpoint, open_checkpoint, whole_folder
from pliant.checkpoints.resident import Resident
from pliant.checkpoints.weights import canonical_tensors, norms, stored_fingerprint
from pliant.modifications.merge_weights import MergeWeights, coefficients
from pliant.records.identity import digest

_DTYPES = ("float32", "bfloat16", "float16")
_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.tiktoken",
    "chat_template*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A checkpoint folder and its weight in a sum."""

    folder: Path
    weight: float


Parts = tuple[Part, ...]
"""What a checkpoint's weights are, oldest first: the sum of weight x theta. One part of weight 1 is the plain one."""


def open_parts(
    parts: Parts, *, allow_pickle: bool = False, trust_remote_code: bool = False, into: Resident | None = None
) -> Checkpoint:
    """The weighted sum as a checkpoint: the class, the tokenizer and the facts are those of the newest part.

    Each tensor is summed in fp64, oldest first, and rounded once to fp32; one part of weight 1 keeps its bits. The
    parts before the newest are read a tensor at a time, so no second model is held.

    Raises:
        CheckpointError: a part does not open, or has other tensors than the newest.
    """
    newest = open_checkpoint(
        parts[-1].folder, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code, into=into
    )
    if len(parts) == 1:
        return newest
    with torch.no_grad():
        tensors = canonical_tensors(newest.model)
        for name, merged in _sums(parts, newest.model):
            tensors[name].copy_(merged)
    return replace(newest, weights=parts_weights(parts), stored=None)


def read_parts(parts: Parts, model: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the weighted sum by the canonical names of `model`, one at a time, on the CPU.

    Raises:
        CheckpointError: a part does not open, or has other tensors than `model`.
    """
    yield from read_canonical(parts[0].folder, model) if len(parts) == 1 else _sums(parts, model)


def _sums(parts: Parts, model: Any) -> Iterator[tuple[str, Tensor]]:
    weights = [part.weight for part in parts if part.weight]
    streams = [read_canonical(part.folder, model) for part in parts if part.weight]
    for named in zip(*streams, strict=True):
        total = sum(weight * tensor.double() for weight, (_, tensor) in zip(weights, named, strict=True))
        assert isinstance(total, Tensor), "weights sum to 1, so one is not zero"
        yield named[0][0], total.float()


def parts_weights(parts: Parts) -> str:
    """The fingerprint of the weights: a plain checkpoint's own; for a sum `merge:` and a digest of its parts'.

    Raises:
        CheckpointError: a part is no safetensors checkpoint, or not the one its pliant.json was written for.
    """
    if len(parts) == 1:
        return known_weights(parts[0].folder)
    return "merge:" + digest([[known_weights(part.folder), part.weight] for part in parts], length=64)


def write_merge(
    folders: Sequence[Path], out: Path, *, weights: MergeWeights = "uniform", dtype: str = "float32"
) -> Path:
    """Write the merge of `folders`, oldest first, as a Hugging Face folder that `AutoModelForCausalLM` opens.

    Configuration, tokenizer and facts (tokens, learning rate, ...) are those of the newest; the sum is computed in
    fp64 and stored in `dtype`. `recipe` in pliant.json says what was merged.

    Raises:
        ValueError: `out` is taken, the folders are not oldest first, weights that do not fit, or see `open_parts`.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists and is not empty; give a new folder")
    _check_order(folders)
    counts = coefficients(weights, len(folders))
    parts = tuple(Part(folder=folder, weight=count) for folder, count in zip(folders, counts, strict=True))
    merged = open_parts(parts)
    model = merged.model.to(getattr(torch, dtype))
    with whole_folder(out) as part:
        model.save_pretrained(part)
        _copy_tokenizer(folders[-1], part)
        _about(merged.about, parts, model, part).write(part)
    return out


def _check_order(folders: Sequence[Path]) -> None:
    known = [(tokens, folder) for folder in folders if (tokens := read_about(folder).tokens) is not None]
    for (before, older), (after, newer) in pairwise(known):
        if after < before:
            raise CheckpointError(
                f"{newer} has seen {after:,} tokens and comes after {older} with {before:,}; give the oldest first"
            )


def _copy_tokenizer(source: Path, out: Path) -> None:
    for pattern in _TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copy2(file, out / file.name)


def _about(newest: About, parts: Parts, model: Any, out: Path) -> About:
    made = ", ".join(f"{part.weight:.6g} x {known_weights(part.folder)[:19]}" for part in parts)
    return replace(
        newest,
        recipe=f"merge: {made}",
        weights=stored_fingerprint(out),
        norms=norms(canonical_tensors(model)),
    )
