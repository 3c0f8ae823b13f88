"""Rows of tokens as the kernel takes them: whole lanes long, their targets beside them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from pliant.kernel import LANES
from pliant.training.cross_entropy import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """`tokens` and `targets`, padded behind to whole lanes with targets that are not scored; `length` is without."""

    tokens: Int[np.ndarray, "rows padded"]
    targets: Int[np.ndarray, "rows padded"]
    length: int

    @classmethod
    def of(cls, inputs: Int[Tensor, "rows length"], targets: Int[Tensor, "rows length"], vocabulary: int) -> "Rows":
        """
        Raises:
            ValueError: a token outside the vocabulary.
        """
        tokens, length = inputs.numpy(), inputs.shape[1]
        highest = max(int(tokens.max()), int(targets.max()))
        if highest >= vocabulary or int(tokens.min()) < 0:
            raise ValueError(f"token {highest} is outside a vocabulary of {vocabulary}; use the model's own tokenizer")
        over = -length % LANES
        return cls(tokens=_padded(tokens, over, 0), targets=_padded(targets.numpy(), over, IGNORED), length=length)

    @property
    def scored(self) -> int:
        return int((self.targets != IGNORED).sum())


def _padded(rows: Int[np.ndarray, "rows length"], over: int, value: int) -> Int[np.ndarray, "rows padded"]:
    return np.pad(rows, ((0, 0), (0, over)), constant_values=value) if over else np.ascontiguousarray(rows)
