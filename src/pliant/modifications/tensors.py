"""Which tensors of a model a modification of its weights takes."""

from typing import Any

from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors


def embedding_names(model: Any, tensors: dict[str, Tensor]) -> set[str]:
    """The names of the input and output embeddings among `tensors`; a tied one once."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = {id(module.weight) for module in modules if module is not None}
    return {name for name, tensor in tensors.items() if id(tensor) in weights}


def matrices(model: Any, *, embeddings: bool) -> tuple[str, ...]:
    """The tensors of two or more dimensions by canonical name, the embeddings among them only if asked for."""
    tensors = canonical_tensors(model)
    skipped = set() if embeddings else embedding_names(model, tensors)
    return tuple(name for name, tensor in tensors.items() if tensor.ndim >= 2 and name not in skipped)
