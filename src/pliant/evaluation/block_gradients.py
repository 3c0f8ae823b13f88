"""The gradient of the held-out loss, block by block: what a small change of the weights costs to first order."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.data.tasks import EncodedSplit
from pliant.evaluation.losses import batches, block_starts, some_rows
from pliant.training.decoder import Forward
from pliant.training.target_losses import summed_gradient


def block_gradients(model: Any, split: EncodedSplit, *, forward: Forward, batch_tokens: int) -> Mapping[str, Tensor]:
    """d (summed loss of block b) / d theta for every block b, by trained tensor: shape (blocks, size of the tensor).

    In nats. It takes one backward pass over the text and holds a number for each parameter and block.
    """
    tensors = canonical_tensors(model)
    edges = [*block_starts(split), len(split)]
    gradients = {name: tensor.new_zeros(len(edges) - 1, tensor.numel()) for name, tensor in tensors.items()}
    for block, (start, stop) in enumerate(pairwise(edges)):
        for inputs, targets in batches(some_rows(split, range(start, stop)), batch_tokens, model):
            for name, part in summed_gradient(forward, model, inputs, targets).items():
                gradients[name][block] += part.flatten()
    return gradients
