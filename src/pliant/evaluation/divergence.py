"""How far the modified model's predictions are from the base's: KL divergence per token."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.data.tasks import EncodedSplit
from pliant.records.record import Measurement
from pliant.training.decoder import Forward

LARGEST_BYTES = 1 << 30
"""What the base's log-probabilities may take in memory: 2,048 tokens of a vocabulary of 128,000."""


def first_tokens(split: EncodedSplit, tokens: int) -> EncodedSplit:
    """The first windows of `split`, `tokens` tokens or fewer, but at least one window."""
    rows = max(1, tokens // split.inputs.shape[1])
    return EncodedSplit(inputs=split.inputs[:rows], targets=split.targets[:rows])


def base_log_probabilities(
    model: Any, split: EncodedSplit, *, forward: Forward, batch_tokens: int
) -> list[Float[Tensor, "rows length vocabulary"]]:
    """ln p of every token after every position of `split` under the weights that the model holds, batch by batch.

    Raises:
        ValueError: they would take more than `LARGEST_BYTES`.
    """
    tokens, vocabulary = split.inputs.size, model.get_input_embeddings().weight.shape[0]
    if 4 * tokens * vocabulary > LARGEST_BYTES:
        raise ValueError(
            f"divergence over {tokens:,} tokens of a vocabulary of {vocabulary:,} keeps "
            f"{4 * tokens * vocabulary / 2**30:.1f} GiB; lower its tokens to {LARGEST_BYTES // (4 * vocabulary):,}"
        )
    return list(_log_probabilities(model, split, forward, batch_tokens))


def divergence_measurement(
    model: Any,
    base: list[Tensor],
    split: EncodedSplit,
    *,
    forward: Forward,
    batch_tokens: int,
    name: str,
    draw: int | None,
    sign: int | None,
) -> Measurement:
    """KL(base || modified) = sum_v p(v) (ln p(v) - ln q(v)), its mean over positions in nats per token.

    p is the base, q the model as it is now, on the same tokens; a block a window. Exactly 0 for the base itself.
    """
    sums: list[float] = []
    for p, q in zip(base, _log_probabilities(model, split, forward, batch_tokens), strict=True):
        sums += (p.exp() * (p - q)).double().sum(dim=(1, 2)).tolist()
    length = split.inputs.shape[1]
    return Measurement(
        metric="divergence_nats",
        split=name,
        value=math.fsum(sums) / (length * len(sums)),
        draw=draw,
        sign=sign,
        blocks=tuple(sums),
        count=(length,) * len(sums),
    )


def _log_probabilities(model: Any, split: EncodedSplit, forward: Forward, batch_tokens: int) -> Iterator[Tensor]:
    """The same batches every time, so that the same weights give the same bits."""
    device = next(model.parameters()).device
    rows = max(1, batch_tokens // split.inputs.shape[1])
    with torch.inference_mode():
        for start in range(0, len(split), rows):
            inputs = torch.from_numpy(split.inputs[start : start + rows]).to(device)
            yield forward(model, inputs).float().log_softmax(dim=-1)
