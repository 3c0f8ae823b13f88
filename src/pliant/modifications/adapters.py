"""Low-rank adapters: W' = W + (alpha / rank) B A, A and B trained, W not; merged before anything is measured."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pliant.checkpoints.keyed import keyed_generator
from pliant.modifications.blocks import block_layers

ALPHA = 16.0
"""Of an adapter that says nothing else; labels name other numbers."""
_NAME = "pliant"
"""Of the adapter in peft, which keeps several."""


class AdapterError(ValueError):
    """An adapter that cannot be had here, or not on this model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """LoRA (Hu et al., arXiv 2106.09685) on every linear layer of the blocks, or on those that `targets` names
    ("q_proj"); with `dora` also the norm of each of their rows is trained apart (DoRA, Liu et al., arXiv 2402.09353).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"rank", "alpha", "dora", "targets"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    rank: int = 8
    alpha: float = ALPHA
    dora: bool = False
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")
        if self.targets is not None and (not self.targets or len(set(self.targets)) < len(self.targets)):
            raise ValueError(
                "targets names linear layers, each once; leave it out for all of the blocks, "
                f"got {', '.join(self.targets) or 'none'}"
            )

    @property
    def name(self) -> str:
        return "DoRA" if self.dora else "LoRA"

    @property
    def label(self) -> str:
        alpha = f", alpha {self.alpha:g}" if self.alpha != ALPHA else ""
        return f"{self.name} rank {self.rank}{alpha}" + (f", on {', '.join(self.targets)}" if self.targets else "")


def require_peft() -> None:
    """Check that adapters can be had.

    Raises:
        AdapterError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise AdapterError("LoRA and DoRA need peft: pip install 'pliant[peft]'")


@contextmanager
def adapted(model: Any, settings: LowRank, seed: int) -> Iterator[list[Tensor]]:
    """Give `model` a fresh adapter, which alone takes gradients within; its parameters are what this gives.

    At the end the adapter is merged into the model's own tensors, in place; after an error it is not. Either way the
    modules are those from before, ready to evaluate. A begins uniform on +-1/sqrt(inputs), by `seed` and the layer's
    name, B as zero. Within, the model must be called as transformers calls it: the lean forward pass reads W alone.

    Raises:
        AdapterError: the model has no such layers, or `rank` is larger than one of them.
    """
    layers = targeted(model, settings)
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        _attach(model, settings, layers, seed)
        yield [parameter for parameter in model.parameters() if parameter.requires_grad]
        for name in layers:
            _merge(model.get_submodule(name))
    finally:
        _detach(model, layers)
        for parameter, before in trained:
            parameter.requires_grad_(before)
        model.eval()


def targeted(model: Any, settings: LowRank) -> dict[str, nn.Module]:
    """The linear layers that get an adapter, by name.

    Raises:
        AdapterError: the model has none of the name, or `rank` is larger than the smaller side of one.
    """
    every, kind = block_layers(model), type(model).__name__
    if not every:
        raise AdapterError(f"{kind} has no decoder blocks with linear layers for {settings.name}; train all weights")
    for target in settings.targets or ():
        if not any(_is(name, target) for name in every):
            known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in every))
            raise AdapterError(f"{kind} has no linear layer {target} in its blocks; targets can be {known}")
    targets = settings.targets
    chosen = {n: layer for n, layer in every.items() if targets is None or any(_is(n, target) for target in targets)}
    for name, layer in chosen.items():
        smallest = min(_matrix(layer).shape)
        if settings.rank > smallest:
            shape = " x ".join(map(str, _matrix(layer).shape))
            raise AdapterError(f"rank {settings.rank} is too large for {name} of {shape}; give {smallest} or less")
    return chosen


def _is(name: str, target: str) -> bool:
    """Whether the dotted `name` ends with the dotted `target`, as peft matches them."""
    return f".{name}".endswith(f".{target}")


def _attach(model: Any, settings: LowRank, layers: Mapping[str, nn.Module], seed: int) -> None:
    """Other methods of peft differ in their config and in how they begin; merging and detaching are the same."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_dora=settings.dora,
        target_modules=list(layers),
        fan_in_fan_out=not all(isinstance(layer, nn.Linear) for layer in layers.values()),
    )
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator, on CPU
        inject_adapter_in_model(config, model, _NAME)
    with torch.no_grad():
        for name in layers:
            down = model.get_submodule(name).lora_A[_NAME].weight
            down.copy_(_uniform(down, "adapter", seed, name))


def _uniform(like: Tensor, *key: object) -> Tensor:
    """Uniform on +-1/sqrt(inputs), as nn.Linear and LoRA begin."""
    return nn.init.kaiming_uniform_(torch.empty(like.shape), a=math.sqrt(5), generator=keyed_generator(*key))


def _merge(layer: Any) -> None:
    """Put W' where W is: peft itself gives a DoRA layer another tensor."""
    weight = _matrix(layer.get_base_layer())
    own = weight.data
    layer.merge()
    merged, weight.data = weight.data, own
    own.copy_(merged)


def _detach(model: Any, layers: Mapping[str, nn.Module]) -> None:
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)
    vars(model).pop("peft_config", None)  # what peft left on the model


def _matrix(layer: Any) -> Tensor:
    matrix: Tensor = layer.weight
    return matrix
