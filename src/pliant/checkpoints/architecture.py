"""Shapes of the models that pliant trains, as transformers classes; presets; initialisation."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pliant.checkpoints.keyed import keyed_generator, keyed_normal
from pliant.checkpoints.public.initial_stds import truncated_std

Family = Literal["llama", "olmo2"]
Initialisation = Literal["fan-in", "normal-0.02"]
INIT_STD = 0.02
INIT_TRUNCATION = 3.0  # standard deviations, as in the OLMo code


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A decoder: RMSNorm, RoPE, SwiGLU, no biases, untied head unless `tied`.

    `initialisation`: "fan-in" has std 1/sqrt(fan_in), output projections divided by sqrt(2 layers), embeddings 1;
    "normal-0.02" has std 0.02, truncated at three standard deviations, everywhere. Gains start at one.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset(
        {"family", "width", "layers", "heads", "feed_forward", "context", "tied", "initialisation"}
    )
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    family: Family = "llama"
    width: int
    layers: int
    heads: int
    feed_forward: int
    context: int
    tied: bool = False
    initialisation: Initialisation = "fan-in"

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed_forward", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} over {self.heads} heads is no even whole number; RoPE needs an even head size"
            )

    def parameters(self, vocabulary_size: int) -> int:
        """How many parameters, gains included."""
        block = 4 * self.width**2 + 3 * self.width * self.feed_forward
        gains = (4 if self.family == "olmo2" else 2) * self.width  # OLMo-2 adds gains on query and key
        embeddings = vocabulary_size * self.width * (1 if self.tied else 2)
        return self.layers * (block + gains) + embeddings + self.width


PRESETS: dict[str, Architecture] = {
    "width-8": Architecture(width=8, layers=2, heads=2, feed_forward=16, context=64),
    "width-8-markov": Architecture(width=8, layers=2, heads=2, feed_forward=16, context=32),
    "width-32": Architecture(width=32, layers=2, heads=4, feed_forward=80, context=64),
    "1M": Architecture(width=128, layers=4, heads=4, feed_forward=336, context=256),
    "5M": Architecture(width=256, layers=6, heads=8, feed_forward=680, context=512),
    "15M": Architecture(
        family="olmo2",
        width=128,
        layers=8,
        heads=8,
        feed_forward=512,
        context=1024,
        initialisation="normal-0.02",
    ),
    "30M": Architecture(
        family="olmo2",
        width=256,
        layers=8,
        heads=8,
        feed_forward=1024,
        context=1024,
        initialisation="normal-0.02",
    ),
    "90M": Architecture(
        family="olmo2",
        width=528,
        layers=8,
        heads=8,
        feed_forward=2112,
        context=1024,
        initialisation="normal-0.02",
    ),
}
"""15M, 30M, 90M carry the paper's names with the vocabulary of 50,304; their shapes are the same lab's later ones
(8 layers, 8 heads, width 256 for 30M), scaled; the paper does not state its own."""


def build_model(architecture: Architecture, vocabulary_size: int, seed: int) -> Any:
    """A freshly initialised transformers model; the same `seed` gives the same bits whatever the import order."""
    model = empty_model(architecture, vocabulary_size)
    stds = init_stds(architecture, dict(model.named_parameters()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if stds[name] == 0.0:
                parameter.fill_(1.0)
            else:
                parameter.copy_(_initial(architecture, parameter, stds[name], seed, name))
    return model


def empty_model(architecture: Architecture, vocabulary_size: int) -> Any:
    """The transformers model of this shape, weights unset."""
    shared = {
        "vocab_size": vocabulary_size,
        "hidden_size": architecture.width,
        "intermediate_size": architecture.feed_forward,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.heads,
        "max_position_embeddings": architecture.context,
        "tie_word_embeddings": architecture.tied,
        "use_cache": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if architecture.family == "olmo2":
        from transformers import Olmo2Config, Olmo2ForCausalLM

        return Olmo2ForCausalLM(Olmo2Config(**shared))
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**shared))


def init_stds(architecture: Architecture, parameters: dict[str, Tensor]) -> dict[str, float]:
    """The standard deviation of each tensor at initialisation; 0 for gains, which start at exactly one."""
    return {name: _init_std(architecture, name, tensor) for name, tensor in parameters.items()}


def _init_std(architecture: Architecture, name: str, tensor: Tensor) -> float:
    if tensor.ndim < 2:
        return 0.0
    if architecture.initialisation == "normal-0.02":
        return INIT_STD * TRUNCATED_STD
    if "embed_tokens" in name:
        return 1.0
    std = 1.0 / math.sqrt(tensor.shape[1])
    is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
    return std / math.sqrt(2 * architecture.layers) if is_output else std


TRUNCATED_STD = truncated_std(INIT_TRUNCATION)


def _initial(architecture: Architecture, parameter: Tensor, std: float, seed: int, name: str) -> Tensor:
    if architecture.initialisation == "fan-in":
        return std * keyed_normal(parameter.shape, "init", seed, name)
    values = torch.empty(parameter.shape, dtype=torch.float32)
    bound = INIT_STD * INIT_TRUNCATION
    generator = keyed_generator("init", seed, name, *parameter.shape)
    return torch.nn.init.trunc_normal_(values, std=INIT_STD, a=-bound, b=bound, generator=generator)
