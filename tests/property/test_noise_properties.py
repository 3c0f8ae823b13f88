"""What holds for noise of every strength, scaling and seed."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from pliant.modifications.noise import Noise, noise_stds, noisy_variants
from pliant.modifications.variant import keep_base, restore

scalings = st.sampled_from(["init", "relative"])
strengths = st.floats(0, 1e6)
seeds = st.integers(0, 2**63 - 1)
few = settings(max_examples=25, deadline=None)


@functools.cache
def prepared():
    model = tiny.model(width=8)
    return model, tiny.about(model, tiny.architecture(width=8)), tiny.weights_of(model)


@few
@given(scalings, strengths, seeds, st.booleans(), st.booleans())
def test_whatever_was_drawn_the_base_comes_back(scaling, strength, seed, embeddings, antithetic):
    model, about, before = prepared()
    base = keep_base(model)
    noise = Noise(scaling=scaling, strength=strength, draws=1, embeddings=embeddings, antithetic=antithetic)
    for _ in noisy_variants(noise, model, about, base, seed):
        assert strength > 0 or tiny.same_bits(tiny.weights_of(model), before)
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)


@few
@given(scalings, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_strength_rescales_every_tensor_alike(scaling, strength, factor):
    model, about, _ = prepared()
    stds = noise_stds(Noise(scaling=scaling, strength=strength), model, about)
    rescaled = noise_stds(Noise(scaling=scaling, strength=strength * factor), model, about)
    assert rescaled == pytest.approx({name: factor * std for name, std in stds.items()}, rel=1e-9)


@few
@given(st.integers(-8, 8))
def test_relative_noise_scales_with_the_weights(power):
    model, about, before = prepared()
    noise = Noise(scaling="relative", strength=0.1)
    stds = noise_stds(noise, model, about)
    restore(model, {name: 2.0**power * tensor for name, tensor in before.items()})
    try:
        assert noise_stds(noise, model, about) == {name: 2.0**power * std for name, std in stds.items()}
    finally:
        restore(model, before)


@few
@given(st.lists(seeds, min_size=2, max_size=4, unique=True))
def test_the_order_of_seeds_does_not_matter(order):
    model, about, _ = prepared()
    base = keep_base(model)
    noise = Noise(scaling="init", strength=0.1, draws=1, antithetic=False)

    def copies(in_order):
        found = {}
        for seed in in_order:
            next(noisy_variants(noise, model, about, base, seed))
            found[seed] = model.lm_head.weight.detach().clone()
        restore(model, base)
        return found

    one, other = copies(order), copies(reversed(order))
    assert all(torch.equal(one[seed], other[seed]) for seed in order)
    assert len({tuple(copy.flatten().tolist()) for copy in one.values()}) == len(order)
