"""Random tensors named by what they are for, not by the order in which they are drawn."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator whose stream depends on `key` alone, through the SHA-256 of its parts.

    torch seeds its CPU generator with 32 bits, so of n keys about n^2 / 2^33 pairs share a stream: one pair in a
    hundred thousand keys, which no average of draws notices.
    """
    text = "\x1f".join(str(part) for part in key)
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def keyed_normal(shape: Sequence[int], *key: object) -> Tensor:
    """Standard normal values in fp32 on CPU, the same for the same `key` and `shape` on every machine and sharding."""
    return torch.randn(tuple(shape), generator=keyed_generator(*key, *shape), dtype=torch.float32)
