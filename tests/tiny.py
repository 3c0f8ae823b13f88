"""Models, data and facts of a few thousand parameters, for tests that need a real transformers model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import Architecture, build_model, init_stds
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import canonical_tensors, norms, stored_fingerprint
from pliant.data.tasks import EncodedSplit, EncodedTask
from pliant.data.windows import ShuffledStream
from pliant.training.loop import Batch

VOCABULARY = 40


def architecture(**changes: Any) -> Architecture:
    shape = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 12}
    return Architecture(**(shape | changes))


def model(seed: int = 0, **changes: Any) -> Any:
    return build_model(architecture(**changes), VOCABULARY, seed)


def token_ids(rows: int = 3, length: int = 12, seed: int = 0, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed))


def batches(seed: int = 0, rows: int = 4, length: int = 12) -> Iterator[Batch]:
    """Endless fresh windows, different at every step."""
    step = 0
    while True:
        windows = token_ids(rows, length + 1, seed * 100_000 + step)
        yield Batch(windows[:, :-1], windows[:, 1:])
        step += 1


def stream(context: int = 12, tokens: int = 2000, vocabulary: int = VOCABULARY) -> ShuffledStream:
    ids = np.random.default_rng(0).integers(vocabulary, size=tokens)
    return ShuffledStream(tokens=ids, fingerprint="sha256:test", context=context, seed=1)


def split(rows: int, length: int = 12, seed: int = 0, prompt: int = 0) -> EncodedSplit:
    """Random windows; the first `prompt` targets of each are not scored."""
    windows = np.random.default_rng([seed, rows]).integers(VOCABULARY, size=(rows, length + 1))
    targets = windows[:, 1:].copy()
    targets[:, :prompt] = -100
    return EncodedSplit(inputs=windows[:, :-1], targets=targets)


def task(seed: int = 0) -> EncodedTask:
    splits = {"train": split(50, seed=seed), "validation": split(10, seed=seed + 1), "test": split(10, seed=seed + 2)}
    return EncodedTask(name="random", fingerprint="sha256:task", splits=splits, label_tokens=(), truncated=0)


def about(network: Any, shape: Architecture, **facts: Any) -> About:
    tensors = canonical_tensors(network)
    return About(init_stds=init_stds(shape, tensors), norms=norms(tensors), **facts)


def save(folder: Path, **changes: Any) -> Any:
    """A checkpoint as pliant writes it; returns the model."""
    network = model(**changes)
    folder.mkdir(parents=True)
    save_weights(network, folder)
    shape = architecture(**{name: value for name, value in changes.items() if name != "seed"})
    about(network, shape, tokens=100, weights=stored_fingerprint(folder)).write(folder)
    return network


def weights_of(network: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.named_parameters()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
