"""The lean forward pass against transformers' own, logits and gradients, and which models it takes."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import tiny
from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import choose_forward, fits, lean_logits, transformers_logits

SHAPES = [
    {"width": 8, "layers": 2, "heads": 2, "feed_forward": 16},
    {"width": 32, "layers": 3, "heads": 4, "feed_forward": 80},
    {"width": 12, "layers": 1, "heads": 1, "feed_forward": 5, "tied": True},
    {"width": 16, "layers": 2, "heads": 8, "feed_forward": 24, "initialisation": "normal-0.02"},
]


@pytest.fixture(params=SHAPES, ids=lambda shape: f"width-{shape['width']}")
def llama(request):
    model = tiny.model(seed=3, **request.param)
    with torch.no_grad():  # gains of one would hide a gain left out
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("length", [1, 5, 12])
def test_logits_are_those_of_transformers(llama, length):
    inputs = tiny.token_ids(length=length)
    with torch.inference_mode():
        assert relative_error(lean_logits(llama, inputs), transformers_logits(llama, inputs)) < 1e-5


def test_gradients_are_those_of_transformers(llama):
    inputs, targets = tiny.token_ids(), tiny.token_ids(seed=1)
    gradients = []
    for forward in (lean_logits, transformers_logits):
        llama.zero_grad()
        mean_cross_entropy(forward(llama, inputs), targets).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in llama.named_parameters()})
    for name in gradients[0]:
        assert relative_error(gradients[0][name], gradients[1][name]) < 2e-5, name


def test_a_later_token_does_not_change_earlier_logits():
    model = tiny.model().eval()
    inputs = tiny.token_ids()
    changed = inputs.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % tiny.VOCABULARY
    with torch.inference_mode():
        before, after = lean_logits(model, inputs), lean_logits(model, changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_evaluating_first_does_not_stop_training_afterwards():
    # The tables of the rotation are cached; one made in inference mode could not be used for a gradient.
    model = tiny.model(context=37)
    inputs = tiny.token_ids(length=37)
    with torch.inference_mode():
        lean_logits(model, inputs)
    lean_logits(model, inputs).sum().backward()


def llama_with(**changes):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=tiny.VOCABULARY, **(shape | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 2},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"head_dim": 8},
        {"attention_dropout": 0.1},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_llamas_are_left_to_transformers(changes):
    model = llama_with(**changes)
    assert not fits(model)
    assert choose_forward(model, "lean") is transformers_logits


def test_choice():
    llama, olmo2 = llama_with(), tiny.model(family="olmo2")
    assert fits(llama)
    assert not fits(olmo2)
    assert choose_forward(llama, "lean") is lean_logits
    assert choose_forward(llama, "transformers") is transformers_logits
    assert choose_forward(olmo2, "lean") is transformers_logits


def test_another_rotation_base_is_followed():
    model = llama_with(rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    inputs = tiny.token_ids()
    assert fits(model)
    with torch.inference_mode():
        assert relative_error(lean_logits(model, inputs), transformers_logits(model, inputs)) < 1e-5
