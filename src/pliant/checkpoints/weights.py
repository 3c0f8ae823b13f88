"""Fingerprints, shapes and norms of a model's tensors."""

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.remembered import remembered, state_of


def canonical_tensors(model: Any) -> dict[str, Tensor]:
    """The trained tensors by name, each once: a tied tensor goes by the first of its names."""
    tensors: dict[int, tuple[str, Tensor]] = {}
    for prefix, module in modules_of(model):
        for name, tensor in module._parameters.items():
            if tensor is not None:
                tensors.setdefault(id(tensor), (prefix + name, tensor))
    return dict(tensors.values())


def modules_of(model: Any) -> list[tuple[str, nn.Module]]:
    """Every module once, in torch's order, with the beginning of its tensors' names ("model.layers.0.mlp.").

    `named_modules` takes several times as long, and this is done for every theta'.
    """
    found: dict[int, tuple[str, nn.Module]] = {}
    rest: list[tuple[str, nn.Module]] = [("", model)]
    while rest:
        prefix, module = rest.pop()
        if id(module) not in found:
            found[id(module)] = (prefix, module)
            inside = [(f"{prefix}{name}.", child) for name, child in module._modules.items() if child is not None]
            rest += reversed(inside)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies: its file, its dtype as safetensors writes it, its shape and byte range."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a folder's safetensors files, read from their headers alone.

    Raises:
        CheckpointError: a file is cut short or is no safetensors file, or a shard is missing, or their index damaged.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in _weight_files(folder):
        tensors.update(_header(file))
    return tensors


def in_safetensors(folder: Path) -> bool:
    """Whether the weights are in safetensors files; if not, they are pickled."""
    return _weight_files(folder)[0].is_file()


NO_PARAMETERS = re.compile(r"(^|\.)(attention\.(masked_)?bias|rotary_emb\.inv_freq)$")
"""Names of masks and frequencies that older files store and models compute: no trained tensors."""


def _weight_files(folder: Path) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():  # one file goes before shards, as in transformers
        return [whole]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards (damaged or cut short); fetch it again") from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: shard {missing[0]} is missing ({len(missing)} of {len(names)}); fetch it again"
        )
    return [folder / name for name in names]


def _header(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(length)) if 0 < length < size else None
        assert header is not None
        tensors = {
            name: StoredTensor(
                file=file,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                start=8 + length + entry["data_offsets"][0],
                stop=8 + length + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (AssertionError, AttributeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is no safetensors file (damaged or cut short); fetch it again") from error
    end = max((tensor.stop for tensor in tensors.values()), default=0)
    if end > size:
        raise CheckpointError(f"{file} is cut short: {size:,} bytes, its header promises {end:,}; fetch it again")
    return tensors


def stored_fingerprint(folder: Path) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the stored tensors in order of name.

    It does not depend on sharding or on the order in the file. Pickled weights are hashed as files. Files that are
    as they were when they were last hashed are not read again.
    """
    safe = in_safetensors(folder)
    files = _weight_files(folder) if safe else sorted(folder.glob("pytorch_model*.bin"))
    digest = _safe_digest if safe else _pickled_digest
    kind = "safetensors" if safe else "pickled"
    return "sha256:" + remembered(kind, state_of(files), lambda: digest(files))


def _pickled_digest(files: Iterable[Path]) -> str:
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes())
    return content.hexdigest()


def _safe_digest(files: Iterable[Path]) -> str:
    content = hashlib.sha256()
    tensors = {name: tensor for file in files for name, tensor in _header(file).items()}
    for name in sorted(tensors):
        tensor = tensors[name]
        content.update(f"{name}\x1f{tensor.dtype}\x1f{tensor.shape}\x1f".encode())
        if tensor.stop > tensor.start:
            with (
                tensor.file.open("rb") as opened,
                mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as whole,
                memoryview(whole) as view,
                view[tensor.start : tensor.stop] as part,
            ):
                content.update(part)
    return content.hexdigest()


def stored_parameters(folder: Path) -> int:
    """How many numbers the stored tensors hold; 0 where the weights are pickled and so not looked into."""
    if not in_safetensors(folder):
        return 0
    return sum(prod(t.shape) for name, t in stored_tensors(folder).items() if not NO_PARAMETERS.search(name))


def whole(value: Tensor) -> Tensor:
    """`value` itself; where it is of tensors that processes share (DTensor), that of the rows of all of them."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The L2 norm of each tensor, accumulated in fp64."""
    return {name: float(whole(tensor.detach().double().norm())) for name, tensor in tensors.items()}


def root_mean_square(tensor: Tensor) -> float:
    """sqrt(mean of squares), accumulated in fp64."""
    return float(whole(tensor.detach().double().square().mean().sqrt()))


def distance(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> float:
    """||theta' - theta||: the L2 norm over all tensors together, accumulated in fp64."""
    moved = ((tensors[name].detach().double() - base[name].detach().double()).square().sum() for name in base)
    return float(sum(float(whole(square)) for square in moved) ** 0.5)


def not_finite(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Names of tensors that hold NaN or infinity."""
    # NaN and infinity stay in a sum, which costs a twentieth; finite values seldom overflow it, then each is looked at
    if tensors and not bool(torch.stack([tensor.detach().sum() for tensor in tensors.values()]).isfinite().all()):
        yield from (name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all()))
