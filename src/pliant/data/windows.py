"""Windows of tokens in training order, whatever they come from."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from jaxtyping import Int, Integer

Windows = Int[np.ndarray, "batch length"]


class WindowSource(Protocol):
    """Windows of `context + 1` tokens: the first `context` are inputs, the last `context` are targets.

    The window is the unit of the training order: window i is the same for every budget, so a larger budget
    reads a longer prefix of one sequence.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def windows_per_epoch(self) -> int | None:
        """None where fresh windows never end."""
        ...

    def windows(self, start: int, stop: int) -> Windows: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShuffledStream:
    """Windows of one packed stream in an order shuffled by `seed`, shuffled anew in every epoch.

    Neighbours overlap by the one token that is the last target here and the first input there, so each token
    is predicted once an epoch. A random order of whole windows gives every prefix the same mixture of documents.
    """

    tokens: Integer[np.ndarray, " tokens"]
    fingerprint: str
    context: int
    seed: int

    @property
    def windows_per_epoch(self) -> int:
        return (len(self.tokens) - 1) // self.context

    def windows(self, start: int, stop: int) -> Windows:
        per_epoch = self.windows_per_epoch
        index = np.arange(start, stop)
        order = np.empty_like(index)
        for epoch in range(start // per_epoch, (stop - 1) // per_epoch + 1):
            here = index // per_epoch == epoch
            order[here] = _permutation(self.seed, epoch, per_epoch)[index[here] % per_epoch]
        windows: Windows = self.tokens[order[:, None] * self.context + np.arange(self.context + 1)].astype(np.int64)
        return windows


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> Int[np.ndarray, " length"]:
    return np.random.default_rng([seed, epoch, length]).permutation(length)
