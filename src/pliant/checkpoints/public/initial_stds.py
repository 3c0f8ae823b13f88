"""The standard deviation of each tensor when training began, by published rules of initialisation."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

_LAYER = r"(?:model|gpt_neox)\.layers\.(\d+)\."
_EMBEDDING = re.compile(r"model\.embed_tokens\.weight|gpt_neox\.embed_in\.weight")
_INPUT = re.compile(
    _LAYER + r"(?:self_attn\.[qkv]_proj|mlp\.(?:gate|up)_proj|attention\.query_key_value|mlp\.dense_h_to_4h)\.weight"
)
_HEAD = re.compile(r"lm_head\.weight|embed_out\.weight")
_OUTPUT = re.compile(_LAYER + r"(?:self_attn\.o_proj|mlp\.down_proj|attention\.dense|mlp\.dense_4h_to_h)\.weight")
_CONSTANT = re.compile(r".*(?:norm\.(?:weight|bias)|(?:_proj|query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.bias)")


def truncated_std(cut: float) -> float:
    """Std of a standard normal truncated at +-cut: sqrt(1 - 2 cut phi(cut) / (2 Phi(cut) - 1))."""
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalInit:
    """Every matrix normal with `std`, cut at `truncation` standard deviations where that is given."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rule: Literal["normal"]
    std: float
    truncation: float | None = None

    def __post_init__(self) -> None:
        _check_positive(std=self.std, truncation=self.truncation)


@dataclass(frozen=True, slots=True, kw_only=True)
class MitchellInit:
    """OLMo's `mitchell`: 1/sqrt(fan_in), outputs of layer i (from 0) over sqrt(2 (i + 1)), all truncated.

    Source: github.com/allenai/OLMo, olmo/model.py, reset_parameters.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rule: Literal["mitchell"]
    truncation: float = 3.0

    def __post_init__(self) -> None:
        _check_positive(truncation=self.truncation)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallInit:
    """GPT-NeoX's `small_init`, sqrt(2 / (5 d)), with outputs at `output` / (layers sqrt(d)); d is the model's width.

    `output` is 2 for `wang_init`. Source: github.com/EleutherAI/gpt-neox, megatron/model/init_functions.py.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rule: Literal["small-init"]
    output: float = 2.0

    def __post_init__(self) -> None:
        _check_positive(output=self.output)


Init = NormalInit | MitchellInit | SmallInit


def initial_stds(
    init: Init, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, float] | None:
    """The std of each tensor of `shapes` at initialisation, 0 for gains and biases; None if one is not covered.

    Names are those of transformers' Llama, OLMo, OLMo-2, OLMo-3 and GPT-NeoX classes, a tied tensor once; a matrix has
    shape [out, in]. `config` is the model's, for its width and number of layers.
    """
    stds = {name: _std(init, config, name, shape) for name, shape in shapes.items()}
    known = {name: std for name, std in stds.items() if std is not None}
    return known if len(known) == len(stds) else None


def _std(init: Init, config: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> float | None:
    if len(shape) == 1:
        return 0.0 if _CONSTANT.fullmatch(name) else None
    output = _OUTPUT.fullmatch(name)
    if len(shape) != 2 or not (output or any(kind.fullmatch(name) for kind in (_EMBEDDING, _INPUT, _HEAD))):
        return None
    if isinstance(init, NormalInit):
        return init.std * (1.0 if init.truncation is None else truncated_std(init.truncation))
    if isinstance(init, MitchellInit):
        depth = 2 * (int(output[1]) + 1) if output else 1
        return truncated_std(init.truncation) / math.sqrt(shape[1] * depth)
    width, layers = config.get("hidden_size"), config.get("num_hidden_layers")
    if width is None or layers is None:
        return None
    return init.output / layers / math.sqrt(width) if output else math.sqrt(2 / (5 * width))


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
