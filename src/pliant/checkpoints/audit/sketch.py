"""A few ten thousand weights of a checkpoint, read at fixed places: enough to say how far two checkpoints are apart."""

import mmap
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from pliant.checkpoints.weights import StoredTensor

WEIGHTS = 32_768
"""Weights of one sketch: a squared distance estimated from m weights has a relative standard error near sqrt(2 / m)."""
RUN = 64
"""Neighbouring weights are read together: 512 places in a file instead of 32,768."""
FEWEST = 32
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

Sketch = Mapping[str, Float[np.ndarray, " weights"]]
"""Sampled weights by tensor."""


def read_sketch(tensors: Mapping[str, StoredTensor]) -> dict[str, Float[np.ndarray, " weights"]]:
    """Sampled weights of every floating-point tensor, in fp64; where they lie depends on name and shape alone.

    A tensor gives its share of `WEIGHTS`, at least `FEWEST`, in runs of `RUN` neighbours. Only the pages that hold
    them are read. fp8 and integer tensors are passed over.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.dtype in _FLOATS and prod(tensor.shape) > 0}
    total = sum(prod(tensor.shape) for tensor in floats.values())
    files: dict[Path, list[str]] = {}
    for name in sorted(floats):
        files.setdefault(floats[name].file, []).append(name)
    sketch = {}
    for file, names in files.items():
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name in names:
                wanted = max(FEWEST, WEIGHTS * prod(floats[name].shape) // total)
                sketch[name] = _sampled(content, floats[name], sample_places(name, floats[name].shape, wanted))
    return sketch


def sample_places(name: str, shape: Sequence[int], wanted: int) -> Int[np.ndarray, " weights"]:
    """Flat places of about `wanted` weights: all of a small tensor, else runs of neighbours at random starts."""
    size = prod(shape)
    if size <= max(wanted, RUN):
        return np.arange(size)
    seed = np.frombuffer(f"{name}\x1f{tuple(shape)}".encode(), dtype=np.uint8)
    starts = np.random.default_rng(seed).integers(size - RUN + 1, size=max(1, wanted // RUN))
    return np.unique(starts[:, None] + np.arange(RUN))


def _sampled(
    content: mmap.mmap, tensor: StoredTensor, places: Int[np.ndarray, " weights"]
) -> Float[np.ndarray, " weights"]:
    stored = np.frombuffer(content, dtype=_FLOATS[tensor.dtype], count=prod(tensor.shape), offset=tensor.start)
    values = stored[places]
    del stored  # an array that looks into the file keeps it from being closed
    if tensor.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, dtype=np.float64)


def directions(sketches: Sequence[Sketch]) -> Float[np.ndarray, "checkpoints weights"]:
    """One row a checkpoint: the tensors that all share, each divided by its own root mean square in the sketch.

    Growth of a tensor's norm, which weight decay and normalisation layers make meaningless, leaves rows as they are.
    """
    shared = sorted(set.intersection(*(set(sketch) for sketch in sketches))) if sketches else []
    rows = [np.concatenate([_unit(sketch[name]) for name in shared] or [np.empty(0)]) for sketch in sketches]
    return np.array(rows)


def _unit(values: Float[np.ndarray, " weights"]) -> Float[np.ndarray, " weights"]:
    scale = float(np.sqrt(np.mean(np.square(values))))
    return values / scale if scale else values


def squared_distances(
    rows: Float[np.ndarray, "checkpoints weights"],
) -> Float[np.ndarray, "checkpoints checkpoints"]:
    """|row_i - row_j|^2 / weights, in fp64."""
    return np.array([np.mean(np.square(rows - row), axis=1) for row in rows])
