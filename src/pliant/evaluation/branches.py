"""Continuations of one context as branches of one row: the context is computed once, each branch sees it and itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """[context, branch 1, ..., branch k], each branch without its last token, which nothing is predicted from.

    `positions` go on from the context in every branch; `branch` is 0 in the context and 1..k in the branches.
    `places[i]` are the places in the row whose logits predict continuation i, token by token.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    branch: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def branched(self) -> bool:
        """Whether the row needs a tree mask: with at most one branch the causal one is the same."""
        return max(self.branch) > 1


def row_of(context: Sequence[int], continuations: Sequence[Sequence[int]]) -> Row:
    """The row of the continuations of one context; neither may be empty."""
    tokens, positions, branch = list(context), list(range(len(context))), [0] * len(context)
    places: list[tuple[int, ...]] = []
    branches = 0
    for continuation in continuations:
        inner = list(continuation[:-1])
        branches += bool(inner)
        places.append((len(context) - 1, *range(len(tokens), len(tokens) + len(inner))))
        tokens += inner
        positions += range(len(context), len(context) + len(inner))
        branch += [branches] * len(inner)
    return Row(tokens=tuple(tokens), positions=tuple(positions), branch=tuple(branch), places=tuple(places))


def padded(rows: Sequence[tuple[int, ...]], value: int) -> Int[Tensor, "rows length"]:
    """The rows side by side, padded on the right."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.long)


def tree_mask(branch: Int[Tensor, "rows length"], dtype: torch.dtype) -> Float[Tensor, "rows 1 length length"]:
    """0 where a place may look, the lowest number elsewhere: it sees itself, and what came before in its branch and in
    the context. Padding carries branch -1, so that no branch sees it."""
    same = branch[:, :, None] == branch[:, None, :]
    context = branch[:, None, :] == 0
    earlier = torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool).tril()
    mask = torch.zeros(len(branch), branch.shape[1], branch.shape[1], dtype=dtype)
    return mask.masked_fill_(~((same | context) & earlier), torch.finfo(dtype).min)[:, None]
