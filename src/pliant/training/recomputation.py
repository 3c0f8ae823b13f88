"""Gradient checkpointing: activations within a layer are computed again in the backward pass instead of kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def recomputed(model: Any, wanted: bool) -> Iterator[None]:
    """Within, a training step of `model` holds the activations of one layer only, if `wanted`: the same bits, a third
    more work (Chen et al., arXiv 1604.06174). It is transformers' own, so it takes transformers' own forward pass.

    Raises:
        ValueError: the class of `model` has no layers that can be computed again.
    """
    if not wanted:
        yield
        return
    if not model.supports_gradient_checkpointing:
        raise ValueError(f"{type(model).__name__} has no gradient checkpointing; leave gradient_checkpointing out")
    model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        model.activation_checkpointing_disable()
