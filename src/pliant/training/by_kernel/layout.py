"""Where each weight of a Llama lies in one flat array, and which models the kernel computes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.kernel import LANES
from pliant.records.numerics import Numerics
from pliant.training.decoder import LAYER, fits, rotation

WIDEST = 64
"""A training step by the kernel is 1.9 times as fast at this width as by torch, 1.4 at 96, and the same at 128."""
_OUTER = ("model.embed_tokens", "model.norm", "lm_head")


def kernel_fits(model: Any) -> bool:
    """Whether the kernel computes `model`: one that `decoder.fits`, in fp32 on CPU, up to `WIDEST`, its dimensions
    multiples of 8 and those of its heads of 4."""
    if not fits(model):
        return False
    config = model.config
    sizes = (config.vocab_size, config.hidden_size, config.intermediate_size)
    return (
        config.hidden_size <= WIDEST
        and all(size % 8 == 0 for size in sizes)
        and config.head_dim % 4 == 0
        and all(str(p.dtype) == "torch.float32" and p.device.type == "cpu" for p in model.parameters())
    )


def by_kernel(model: Any, numerics: Numerics) -> bool:
    """Whether the kernel computes `model` under the plan `numerics`."""
    return numerics.kernel == "lanes" and kernel_fits(model)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The tensors of a model one after the other, and the arguments of `llama.run` that follow from its config.

    `size` is their length, rounded up to whole lanes.
    """

    offsets: Mapping[str, int]
    size: int
    where: Int[np.ndarray, " tensors"]
    shape: tuple[int, int, int, int, int]
    epsilon: np.float32

    @classmethod
    def of(cls, model: Any) -> "Layout":
        """That of `model`, made once: its names and shapes do not change."""
        if model not in _KNOWN:
            _KNOWN[model] = cls._made(model)
        return _KNOWN[model]

    @classmethod
    def _made(cls, model: Any) -> "Layout":
        config, offsets, end = model.config, {}, 0
        for name, tensor in canonical_tensors(model).items():
            offsets[name] = end
            end += tensor.numel()
        layers = [f"model.layers.{n}.{part}" for n in range(config.num_hidden_layers) for part in LAYER]
        embedding = offsets["model.embed_tokens.weight"]  # of a tied head too
        return cls(
            offsets=offsets,
            size=-(-end // LANES) * LANES,
            where=np.array([offsets.get(f"{name}.weight", embedding) for name in (*_OUTER, *layers)]),
            shape=(
                config.vocab_size,
                config.hidden_size,
                config.num_hidden_layers,
                config.num_attention_heads,
                config.intermediate_size,
            ),
            epsilon=np.float32(config.rms_norm_eps),
        )

    def flat(self, tensors: Mapping[str, Tensor]) -> Float[np.ndarray, " size"]:
        """A copy of `tensors` in this order."""
        row = np.zeros(self.size, dtype=np.float32)
        for name, view in self.views(row, tensors).items():
            view[...] = tensors[name].detach().numpy()
        return row

    def views(self, row: Float[np.ndarray, " size"], tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """The part of `row` that is each tensor, in the shape of that of `tensors`."""
        return {
            name: row[start : start + tensors[name].numel()].reshape(tensors[name].shape)
            for name, start in self.offsets.items()
        }


_KNOWN: WeakKeyDictionary[Any, Layout] = WeakKeyDictionary()
_ANGLES: WeakKeyDictionary[Any, dict[int, tuple[np.ndarray, np.ndarray]]] = WeakKeyDictionary()


def angles(model: Any, length: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """cos and sin of the rotary embedding, flat (head size / 2, length)."""
    known = _ANGLES.setdefault(model, {})
    if length not in known:
        half = model.config.head_dim // 2
        cosine, sine = (np.ascontiguousarray(table[:, :half].T.numpy()).ravel() for table in rotation(model, length))
        known[length] = cosine, -sine
    return known[length]
