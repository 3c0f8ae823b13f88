"""Checkpoints from outside: tiny transformers models in Hugging Face folders, with the Markov tokenizer."""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import Architecture, build_model, init_stds
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import canonical_tensors
from pliant.data.tokenizers import open_tokenizer

SHAPE = Architecture(width=8, layers=1, heads=2, feed_forward=8, context=16)


def save_checkpoint(
    folder: Path, *, seed: int = 1, tokens: int | None = None, known_init: bool = False, vocabulary_size: int = 64
) -> Path:
    """A freshly initialised model; `known_init` writes the stds of its initialisation to pliant.json."""
    folder.mkdir(parents=True)
    model = build_model(SHAPE, vocabulary_size, seed)
    save_weights(model, folder)
    open_tokenizer("markov").save(folder)
    if tokens is not None or known_init:
        stds = init_stds(SHAPE, canonical_tensors(model)) if known_init else None
        About(tokens=tokens, init_stds=stds).write(folder)
    return folder


def change_weights(folder: Path, change: Callable[[Tensor], None], tensor: str = "lm_head.weight") -> None:
    """Let `change` alter one stored tensor in place."""
    file = folder / "model.safetensors"
    tensors = {name: value.clone() for name, value in load_file(file).items()}
    change(tensors[tensor])
    save_file(tensors, file, metadata={"format": "pt"})
