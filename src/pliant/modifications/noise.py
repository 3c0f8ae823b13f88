"""Gaussian noise on the weights: theta' = theta + gamma x scale x epsilon, tensor by tensor."""

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.keyed import keyed_normal
from pliant.checkpoints.shards import held, own_rows
from pliant.checkpoints.weights import canonical_tensors, root_mean_square
from pliant.modifications.tensors import embedding_names
from pliant.modifications.variant import Variant, is_large
from pliant.records.subset import Subset

Scaling = Literal["init", "relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """gamma = `strength` times, per tensor, the std of its initialisation (`init`) or its own rms (`relative`).

    Tensors whose initialisation has no variance (gains) stay put, and so do all tensors of fewer than two
    dimensions under `relative`. `embeddings` False leaves the input and output embeddings alone. One cell is a
    block of `draws` draws; with `antithetic` a draw is the pair theta + noise, theta - noise. Two settings make an
    interval of the sensitivity narrower for the same work: `control` gradient takes from the loss of a single draw
    what it costs to first order, whose mean over draws is 0; `subsets` measures the loss of each draw on one of so
    many equal parts of the held-out text, in turn (docs/concepts.md).
    Source: Springer et al., arXiv 2503.19206, section 3.3 (init scaling, embeddings in).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"scaling", "strength", "embeddings", "draws", "antithetic", "control", "subsets"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "noise"

    scaling: Scaling
    strength: float
    embeddings: bool = True
    draws: int = 8
    antithetic: bool = True
    control: Literal["gradient"] | None = None
    subsets: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"noise strength must be a finite number >= 0, got {self.strength}")
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.control is not None and self.antithetic:
            raise ValueError(
                "control: gradient has no effect with antithetic: true, whose pairs cancel the same term; "
                "give antithetic: false, or leave control out"
            )
        if self.subsets is not None and self.subsets < 2:
            raise ValueError(
                f"subsets must be at least 2, got {self.subsets}; leave it out to measure on the whole text"
            )
        if self.subsets is not None and (self.draws % self.subsets or self.draws < 2 * self.subsets):
            raise ValueError(
                f"draws must be two or more for each of the {self.subsets} subsets and as many for each, "
                f"got {self.draws}; give draws: {max(2, -(-self.draws // self.subsets)) * self.subsets}"
            )

    @property
    def label(self) -> str:
        return f"noise, {self.scaling} scaling" + ("" if self.embeddings else ", without embeddings")


def noise_stds(noise: Noise, model: Any, about: About) -> dict[str, float]:
    """gamma x scale for each tensor that is perturbed.

    Raises:
        CheckpointError: init scaling asked of a checkpoint whose initialisation is not known.
    """
    tensors = canonical_tensors(model)
    if noise.scaling == "init" and about.init_stds is None:
        raise CheckpointError(
            "init-scaled noise needs the standard deviations at initialisation, and this checkpoint has no "
            "init_stds in pliant.json; use scaling: relative"
        )
    if noise.scaling == "init" and (unknown := set(tensors) - set(about.init_stds or {})):
        raise CheckpointError(f"init_stds in pliant.json does not name {sorted(unknown)[0]}; use scaling: relative")
    skipped = set() if noise.embeddings else embedding_names(model, tensors)
    stds = {n: noise.strength * _scale(noise, t, n, about) for n, t in tensors.items() if n not in skipped}
    return {name: std for name, std in stds.items() if std > 0}


def _scale(noise: Noise, tensor: Tensor, name: str, about: About) -> float:
    if noise.scaling == "init":
        assert about.init_stds is not None, "checked by the caller"
        return about.init_stds[name]
    return root_mean_square(tensor) if tensor.ndim >= 2 else 0.0


def noisy_variants(
    noise: Noise,
    model: Any,
    about: About,
    base: Mapping[str, Tensor],
    seed: int,
    gradients: Mapping[str, Tensor] | None = None,
) -> Iterator[Variant]:
    """Put each noisy copy of `base` into `model` in turn; `restore` puts the base back, bit for bit.

    The stream is keyed by (seed, draw, tensor name, shape) and drawn on CPU in fp32: it is common to all
    checkpoints of one shape, and a tied tensor is drawn once. Of a tensor that processes share each draws the whole
    and takes its rows. Strength 0 leaves the weights untouched. `gradients` are those of each block of text at the
    base, (blocks, size) by tensor, where the noise asks for its control.

    Raises:
        CheckpointError: init scaling asked of a checkpoint whose initialisation is not known.
    """
    assert (gradients is not None) == (noise.control is not None), "the control is made of the gradients"
    stds = noise_stds(noise, model, about)
    tensors = canonical_tensors(model)
    signs = (1, -1) if noise.antithetic else (1,)
    shapes = {name: tensors[name].shape for name in stds}
    for draw in range(noise.draws):
        epsilons = _Epsilons(shapes=shapes, large=is_large(model), seed=seed, draw=draw)
        subset = Subset(number=draw % noise.subsets, of=noise.subsets) if noise.subsets is not None else None
        for sign in signs:
            linear = _no_cost(gradients)
            with torch.no_grad():
                for name, epsilon in epsilons.each():
                    shift = (sign * stds[name]) * own_rows(epsilon, tensors[name]).to(tensors[name].device)
                    torch.add(held(base[name]), shift, out=held(tensors[name]))
                    if gradients is not None:
                        linear += (gradients[name] @ shift.flatten().to(gradients[name].dtype)).double()
            yield Variant(draw=draw, sign=sign, subset=subset, linear=tuple(linear.tolist()))


def _no_cost(gradients: Mapping[str, Tensor] | None) -> Tensor:
    """Zero for each block of text; for none without gradients."""
    some = next(iter(gradients.values())) if gradients is not None else torch.zeros(0, 1)
    return torch.zeros(len(some), dtype=torch.float64, device=some.device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Epsilons:
    """The standard normal noise of one draw, tensor by tensor."""

    shapes: Mapping[str, torch.Size]
    large: bool
    seed: int
    draw: int
    _kept: dict[str, Tensor] = field(default_factory=dict)

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """In the order of `shapes`: of a small model kept for its second sign; of a large one drawn again, by several
        threads ahead of use, since a second copy costs more memory than there may be. Same bits either way.
        """
        if self.large:
            yield from self._drawn_ahead()
            return
        for name in self.shapes:
            if name not in self._kept:
                self._kept[name] = self._drawn(name)
            yield name, self._kept[name]

    def _drawn(self, name: str) -> Tensor:
        return keyed_normal(self.shapes[name], "noise", self.seed, self.draw, name)

    def _drawn_ahead(self) -> Iterator[tuple[str, Tensor]]:
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            ahead: deque[tuple[str, Future[Tensor]]] = deque()
            for name in self.shapes:
                ahead.append((name, pool.submit(self._drawn, name)))
                if len(ahead) > threads:
                    first, drawn = ahead.popleft()
                    yield first, drawn.result()
            for first, drawn in ahead:
                yield first, drawn.result()
