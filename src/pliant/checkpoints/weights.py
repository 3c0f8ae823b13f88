"""Fingerprints, shapes and norms of a model's tensors."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.remembered import remembered, state_of
from pliant.records.outside import clipped, is_plain_name, parse_json


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
        named = set(parse_json(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards (damaged or cut short); fetch it again") from error
    if not named:
        raise CheckpointError(f"{index} names no shard at all; fetch it again")
    if elsewhere := [name for name in named if not is_plain_name(name)]:
        raise CheckpointError(
            f"{index} names the shard {clipped(min(elsewhere, key=repr))}; expected names of files beside it: "
            "do not use this checkpoint before you know where it comes from"
        )
    names = sorted(named)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: shard {missing[0]} is missing ({len(missing)} of {len(names)}); fetch it again"
        )
    return [folder / name for name in names]


def _header(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        text = content.read(length) if 0 < length < min(size, LONGEST_HEADER + 1) else b""
    try:
        header = parse_json(text)
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
        if not all(_is_sound(tensor, 8 + length) for tensor in tensors.values()):
            raise ValueError("a tensor whose bytes are not those that its shape takes")
    except (AttributeError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} is no safetensors file (damaged or cut short); fetch it again") from error
    end = max((tensor.stop for tensor in tensors.values()), default=0)
    if end > size:
        raise CheckpointError(f"{file} is cut short: {size:,} bytes, its header promises {end:,}; fetch it again")
    return tensors


LONGEST_HEADER = 100_000_000
"""Bytes, as in the safetensors library: a header is read whole before anything of it is believed."""
_BITS = (
    dict.fromkeys(("F64", "I64", "U64", "C64"), 64) | dict.fromkeys(("F32", "I32", "U32"), 32)
    | dict.fromkeys(("F16", "BF16", "I16", "U16"), 16) | dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 8)
)  # fmt: skip


def _is_sound(tensor: StoredTensor, begin: int) -> bool:
    """Whether it lies behind the header, and takes as many bytes as its shape and dtype say (of a known dtype).

    Where it does not, its shape would be given memory that no file backs.
    """
    numbers = (*tensor.shape, tensor.start, tensor.stop)
    if not isinstance(tensor.dtype, str) or not all(type(number) is int and number >= 0 for number in numbers):
        return False
    bits = _BITS.get(tensor.dtype)
    exact = bits is None or 8 * (tensor.stop - tensor.start) == bits * prod(tensor.shape)
    return begin <= tensor.start <= tensor.stop and exact


def stored_fingerprint(folder: Path, *, afresh: bool = False) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the stored tensors in order of name.

    It does not depend on sharding or on the order in the file. Pickled weights are hashed as files. Files that are
    as they were when they were last hashed are not read again, unless it is asked for `afresh`: a disk that lost a bit
    says nothing of it.
    """
    safe = in_safetensors(folder)
    files = _weight_files(folder) if safe else sorted(folder.glob("pytorch_model*.bin"))
    digest = _safe_digest if safe else _pickled_digest
    if afresh:
        return "sha256:" + digest(files)
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
            for chunk in _chunks(tensor):
                content.update(chunk)
    return content.hexdigest()


def _chunks(tensor: StoredTensor) -> Iterator[memoryview]:
    """The bytes of `tensor`, by plain reads: not every file system maps files, and a mapped one that another machine
    replaces kills the process."""
    buffer, rest = memoryview(bytearray(_CHUNK_BYTES)), tensor.stop - tensor.start
    with tensor.file.open("rb", buffering=0) as opened:
        opened.seek(tensor.start)
        while rest:
            count = opened.readinto(buffer[: min(rest, _CHUNK_BYTES)])
            if not count:
                raise CheckpointError(f"{tensor.file} was cut short while it was read; fetch it again")
            yield buffer[:count]
            rest -= count


_CHUNK_BYTES = 1 << 20


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
    if not all_finite([tensor.detach().sum() for tensor in tensors.values()]):
        yield from (name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all()))


def all_finite(sums: Sequence[Tensor]) -> bool:
    """Whether tensors of these `sums` hold neither NaN nor infinity; False also where finite numbers overflow a sum.

    Both stay in a sum, which costs a twentieth of a look at each number.
    """
    return not sums or bool(torch.stack(list(sums)).isfinite().all())
