"""Products in bfloat16 against the same model with its products rounded by hand; the bias rule by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch.overrides import TorchFunctionMode

import tiny
from pliant.evaluation.half import products_in_bfloat16
from pliant.statistics.bias import bias_of
from pliant.training.decoder import transformers_logits


class Rounded(TorchFunctionMode):
    """Linear layers as rounding says: inputs and weights to bfloat16, the product in fp64, rounded once."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.linear:
            return function(*args, **(kwargs or {}))
        inputs, weight = (tensor.bfloat16().double() for tensor in args[:2])
        return (inputs @ weight.T).bfloat16().float()


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_linear_layers_multiply_in_bfloat16_and_all_else_in_fp32(family: str) -> None:
    model, ids = tiny.model(family=family).eval(), tiny.token_ids()
    with torch.inference_mode():
        plain = transformers_logits(model, ids)
        with products_in_bfloat16(model):
            half = transformers_logits(model, ids)
        with Rounded():
            by_hand = transformers_logits(model, ids)
        assert torch.equal(transformers_logits(model, ids), plain)  # afterwards it is as before
    assert half.dtype == torch.float32
    apart = (half - by_hand).abs().max()
    assert apart < 0.3 * (half - plain).abs().max()  # the order of summation moves a few roundings
    assert 1e-4 < (half - plain).abs().max() / plain.abs().max() < 0.03


def test_an_error_within_leaves_the_model_whole() -> None:
    model = tiny.model()
    with pytest.raises(KeyError), products_in_bfloat16(model):
        raise KeyError
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_bias_is_held_to_a_tenth_of_the_interval() -> None:
    plain = np.random.default_rng(0).normal(1.0, 0.2, size=12)
    interval = stats.t.interval(0.95, 31, loc=0.0, scale=plain.std(ddof=1) / math.sqrt(32))[1]
    cheap = plain + 0.05 * interval + 0.001 * interval * np.array([1, -1] * 6)
    found = bias_of(plain, cheap, planned=32)
    assert found.half_width == pytest.approx(interval)
    assert found.value == pytest.approx(0.05 * interval)
    assert found.uncertainty == pytest.approx(stats.t.ppf(0.975, 11) * np.std(cheap - plain, ddof=1) / math.sqrt(12))
    assert found.negligible
    assert not bias_of(plain, plain + 0.11 * interval, planned=32).negligible
    noisy = plain + interval * np.array([1, -1] * 6)  # no bias, and not known to have none
    assert not bias_of(plain, noisy, planned=32).negligible


def test_a_bias_needs_the_same_units() -> None:
    with pytest.raises(ValueError, match="3 units against 2: a bias needs the same on both sides, two at least"):
        bias_of([1.0, 2.0, 3.0], [1.0, 2.0], planned=3)
