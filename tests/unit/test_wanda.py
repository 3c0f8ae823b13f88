"""Pruning by activations: hand-made scores, exact sparsity, and a Llama pruned block by block in plain NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from pliant.checkpoints.about import CheckpointError
from pliant.modifications.prune import Prune, pruned
from pliant.modifications.variant import keep_base, restore
from pliant.modifications.wanda import Wanda, wanda_pruned, wanda_variant

CALIBRATION = tiny.token_ids(rows=7, length=12, seed=3)


def wanda(model: Any, share: float, calibration: torch.Tensor = CALIBRATION, batch_tokens: int = 36) -> None:
    (variant,) = wanda_variant(Wanda(strength=share), model, calibration, batch_tokens)
    assert not variant.diverged


def test_a_matrix_by_hand() -> None:
    weights = torch.tensor([[4.0, 1.0, -1.0], [0.5, -2.0, 9.0]])
    norms = torch.tensor([1.0, 8.0, 2.0])  # scores 4 8 2, and 0.5 16 18
    assert wanda_pruned(weights, norms, 1 / 3).tolist() == [[4.0, 1.0, 0.0], [0.0, -2.0, 9.0]]
    assert wanda_pruned(weights, norms, 2 / 3).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 9.0]]
    assert wanda_pruned(torch.ones(1, 4), torch.ones(4), 0.5).tolist() == [[0.0, 0.0, 1.0, 1.0]]  # ties: the first


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0.01, 100), st.integers(0, 9))
def test_equal_norms_are_magnitude_per_channel_and_shares_are_exact(share: float, norm: float, seed: int) -> None:
    weights = torch.randn(5, 13, generator=torch.Generator().manual_seed(seed))
    made = wanda_pruned(weights, torch.full((13,), norm), share)
    assert torch.equal(made, pruned(weights, Prune(strength=share, per="channel")))
    assert ((made == 0).sum(dim=1) == round(share * 13)).all()


def numpy_llama_pruned(model: Any, windows: np.ndarray, share: float) -> dict[str, np.ndarray]:
    """The linear layers of a Llama pruned block by block, written from the formulas, in float64."""
    weights = {name: tensor.detach().double().numpy().copy() for name, tensor in model.named_parameters()}
    heads = model.config.num_attention_heads

    def normed(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return gain * x / np.sqrt((x**2).mean(-1, keepdims=True) + model.config.rms_norm_eps)

    def turned(x: np.ndarray) -> np.ndarray:  # (rows, length, heads, size)
        half = x.shape[-1] // 2
        rates = 10_000.0 ** (-np.arange(half) / half)
        angle = (np.arange(x.shape[1])[:, None] * rates)[None, :, None, :]
        low, high = x[..., :half], x[..., half:]
        return np.concatenate(
            [low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)], -1
        )

    def block(x: np.ndarray, prefix: str, see: Any) -> np.ndarray:
        def linear(name: str, given: np.ndarray) -> np.ndarray:
            see(f"{prefix}{name}.weight", given)
            return given @ weights[f"{prefix}{name}.weight"].T

        inner = normed(x, weights[f"{prefix}input_layernorm.weight"])
        q, k, v = (
            linear(f"self_attn.{n}_proj", inner).reshape(*x.shape[:2], heads, x.shape[2] // heads) for n in "qkv"
        )
        scores = np.einsum("rihd,rjhd->rhij", turned(q), turned(k)) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones(scores.shape[-2:], dtype=bool)), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + linear("self_attn.o_proj", np.einsum("rhij,rjhd->rihd", shares, v).reshape(x.shape))
        inner = normed(x, weights[f"{prefix}post_attention_layernorm.weight"])
        gate = linear("mlp.gate_proj", inner)
        return x + linear("mlp.down_proj", gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", inner))

    hidden = weights["model.embed_tokens.weight"][windows]
    for layer in range(model.config.num_hidden_layers):
        seen: dict[str, np.ndarray] = {}
        prefix = f"model.layers.{layer}."
        block(hidden, prefix, seen.__setitem__)
        for name, given_ in seen.items():
            norms = np.sqrt((given_.reshape(-1, given_.shape[-1]) ** 2).sum(0))
            for row in weights[name]:
                row[np.argsort(np.abs(row) * norms)[: round(share * len(row))]] = 0
        hidden = block(hidden, prefix, lambda *_: None)
    return weights


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_llama_is_pruned_as_plain_numpy_prunes_it(share: float) -> None:
    model = tiny.model(seed=1, layers=3)
    expected = numpy_llama_pruned(model, CALIBRATION.numpy(), share)
    by_size, before = Prune(strength=share, per="channel"), tiny.weights_of(model)
    wanda(model, share)
    found = tiny.weights_of(model)
    for name, tensor in found.items():
        assert np.array_equal(tensor.double().numpy(), expected[name]), name
    layers = [name for name in found if "proj" in name]
    assert len(layers) == 3 * 7
    assert not any(torch.equal(found[name], pruned(before[name], by_size)) for name in layers), "activations decide"


def test_later_blocks_see_what_pruned_blocks_give() -> None:
    whole, first = tiny.model(seed=1), tiny.model(seed=1)
    wanda(whole, 0.8)
    with torch.no_grad():  # the first block pruned by hand, then both blocks scored on it
        for name, tensor in first.model.layers[0].named_parameters():
            tensor.copy_(whole.model.layers[0].get_parameter(name))
    wanda(first, 0.8)
    assert tiny.same_bits(tiny.weights_of(first), tiny.weights_of(whole))


def other_classes() -> dict[str, Any]:
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    neox = GPTNeoXConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12,
    )  # fmt: skip
    gpt2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=12)
    return {
        "olmo2": tiny.model(seed=1, family="olmo2"),
        "neox": GPTNeoXForCausalLM(neox).eval(),
        "gpt2": GPT2LMHeadModel(gpt2).eval(),
    }


@pytest.mark.parametrize("kind", ["olmo2", "neox", "gpt2"])
def test_the_linear_layers_of_every_class_meet_the_share_exactly(kind: str) -> None:
    model = other_classes()[kind]
    before, base = tiny.weights_of(model), keep_base(model)
    wanda(model, 0.3)
    changed = {name for name, now in tiny.weights_of(model).items() if not torch.equal(now, before[name])}
    in_blocks = {name for name in before if ".layers." in name or ".h." in name}
    assert changed == {name for name in in_blocks if before[name].ndim == 2}
    for name in changed:
        rows = tiny.weights_of(model)[name]
        rows = rows.T if kind == "gpt2" else rows
        assert ((rows == 0).sum(dim=1) == round(0.3 * rows.shape[1])).all(), name
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)


@pytest.mark.parametrize("kind", ["olmo2", "neox", "gpt2"])
def test_the_first_layer_that_reads_the_first_block_is_scored_on_what_it_reads(kind: str) -> None:
    """Against hooks on the model's own forward pass, with one batch: the first block's first matrix."""
    model = other_classes()[kind]
    name, layer = next((n, m) for n, m in model.named_modules() if n.endswith(("q_proj", "query_key_value", "c_attn")))
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.no_grad():
        model(input_ids=CALIBRATION)
    hook.remove()
    norms = seen[0].reshape(-1, 16).double().pow(2).sum(0).sqrt().numpy()
    rows = (layer.weight.T if kind == "gpt2" else layer.weight).detach().double().numpy().copy()
    for row in rows:
        row[np.argsort(np.abs(row) * norms)[:8]] = 0
    wanda(model, 0.5)
    after = layer.weight.T if kind == "gpt2" else layer.weight
    assert np.array_equal(after.detach().double().numpy(), rows), name


def test_share_zero_changes_nothing_bit_for_bit() -> None:
    model = tiny.model(seed=1)
    before = tiny.weights_of(model)
    wanda(model, 0.0)
    assert tiny.same_bits(tiny.weights_of(model), before)


def test_the_size_of_batches_does_not_matter() -> None:
    one, other = tiny.model(seed=1), tiny.model(seed=1)
    wanda(one, 0.5, batch_tokens=12)
    wanda(other, 0.5, batch_tokens=10_000)
    assert tiny.same_bits(tiny.weights_of(one), tiny.weights_of(other))


def test_blocks_with_matrices_that_are_no_linear_layers_are_refused_by_name() -> None:
    model = tiny.model(seed=1)
    model.model.layers[1].register_parameter("experts", torch.nn.Parameter(torch.ones(2, 3, 4)))
    before = tiny.weights_of(model)
    with pytest.raises(CheckpointError, match="experts of LlamaForCausalLM is none; prune by magnitude"):
        wanda(model, 0.5)
    assert tiny.same_bits(tiny.weights_of(model), before)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strength": 1.5}, "between 0 and 1, got 1.5"),
        ({"strength": float("nan")}, "between 0 and 1"),
        ({"strength": 0.5, "calibration_tokens": 0}, "calibration_tokens must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Wanda(**wrong)
