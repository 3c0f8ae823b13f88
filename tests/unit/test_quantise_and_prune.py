"""Quantisation and pruning of known tensors, exact sparsity, what stays put, and exact undoing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from pliant.modifications.prune import Prune, pruned, pruned_variant
from pliant.modifications.quantise import Quantise, quantised, quantised_variant
from pliant.modifications.variant import keep_base, restore

EMBEDDINGS = {"model.embed_tokens.weight", "lm_head.weight"}


def test_levels_of_a_known_tensor() -> None:
    weights = torch.tensor([[1.0, 0.4, -0.2, -0.6], [14.0, -7.0, 3.0, 0.0]])
    two = quantised(weights, Quantise(bits=2, per="channel"))
    assert two.tolist() == [[1.0, 0.0, 0.0, -1.0], [14.0, 0.0, 0.0, 0.0]]  # -0.5 rounds to even
    four = quantised(weights, Quantise(bits=4, per="channel"))  # seven levels each way; the scale of row two is 2
    assert four[1].tolist() == [14.0, -8.0, 4.0, 0.0]
    whole = quantised(weights, Quantise(bits=4, per="tensor"))
    assert whole[0].tolist() == [0.0, 0.0, 0.0, 0.0]
    grouped = quantised(weights, Quantise(bits=2, per="group", group=3))  # the last group of a channel is shorter
    assert grouped.tolist() == [[1.0, 0.0, 0.0, pytest.approx(-0.6)], [14.0, 0.0, 0.0, 0.0]]


def test_zeros_stay_zero_and_strengths_are_steps() -> None:
    assert quantised(torch.zeros(3, 4), Quantise(bits=3)).tolist() == torch.zeros(3, 4).tolist()
    assert [Quantise(bits=b).strength for b in (8, 4, 3, 2)] == pytest.approx([1 / 127, 1 / 7, 1 / 3, 1.0])
    assert Quantise(bits=4, per="group").label == "quantise, groups of 128"


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.sampled_from(["tensor", "channel", "group"]), st.floats(0.01, 100), st.integers(0, 9))
def test_error_is_at_most_half_a_step_and_units_do_not_matter(bits: int, per: str, unit: float, seed: int) -> None:
    weights = torch.randn(5, 13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    how = Quantise(bits=bits, per=per, group=4)  # type: ignore[arg-type]
    rounded = quantised(weights, how)
    largest = weights.abs().max() if per == "tensor" else weights.abs().amax(dim=1, keepdim=True)
    assert ((rounded - weights).abs() <= largest * how.strength / 2 * (1 + 1e-9)).all()
    assert torch.allclose(quantised(weights * unit, how), rounded * unit)
    assert torch.allclose(quantised(rounded, how), rounded)
    levels = len(set((rounded if per == "tensor" else rounded[0]).flatten().abs().tolist()))
    assert per == "group" or levels <= 2 ** (bits - 1)


def test_pruning_meets_its_share_exactly() -> None:
    weights = torch.tensor([[3.0, -1.0, 2.0, 0.5], [-4.0, 0.125, -0.25, 5.0]])
    assert pruned(weights, Prune(strength=0.5)).tolist() == [[3.0, 0.0, 2.0, 0.0], [-4.0, 0.0, 0.0, 5.0]]
    quarter = pruned(weights, Prune(strength=0.25, per="channel"))
    assert quarter.tolist() == [[3.0, -1.0, 2.0, 0.0], [-4.0, 0.0, -0.25, 5.0]]
    ties = pruned(torch.ones(1, 10), Prune(strength=0.3))
    assert ties.tolist() == [[0.0] * 3 + [1.0] * 7]
    for share in (0.0, 0.1, 0.37, 0.9, 1.0):
        zero = (pruned(torch.randn(20, 50), Prune(strength=share)) == 0).sum()
        assert zero == round(share * 1000)


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"family": "olmo2"}], ids=["llama", "tied", "olmo2"])
def test_gains_and_embeddings_stay_put_and_the_base_comes_back(changes: dict[str, object]) -> None:
    model = tiny.model(seed=1, **changes)
    before, base = tiny.weights_of(model), keep_base(model)
    for made, variants in (
        (Quantise(bits=2), quantised_variant),
        (Prune(strength=0.5), pruned_variant),
    ):
        (variant,) = variants(made, model, base)  # type: ignore[arg-type,operator]
        assert not variant.diverged
        changed = {name for name, now in tiny.weights_of(model).items() if not torch.equal(now, before[name])}
        assert changed
        assert not changed & EMBEDDINGS
        assert not any("norm" in name for name in changed)
        restore(model, base)
        assert tiny.same_bits(tiny.weights_of(model), before)
    list(quantised_variant(Quantise(bits=2, embeddings=True), model, base))
    assert not torch.equal(tiny.weights_of(model)["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


def test_share_zero_changes_nothing_bit_for_bit() -> None:
    model = tiny.model(seed=1)
    before = tiny.weights_of(model)
    list(pruned_variant(Prune(strength=0.0), model, keep_base(model)))
    assert tiny.same_bits(tiny.weights_of(model), before)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Quantise(bits=1), "bits must be 2 to 16, got 1"),
        (lambda: Quantise(bits=4, group=0), "group must be at least 1"),
        (lambda: Prune(strength=1.5), "between 0 and 1, got 1.5"),
        (lambda: Prune(strength=float("nan")), "between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()  # type: ignore[operator]
