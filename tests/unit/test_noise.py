"""Gaussian noise: its size, tensor by tensor; its stream; exact undoing; and the closed form on a linear model."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import tiny
from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.weights import distance
from pliant.modifications.noise import Noise, noise_stds, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.theory.perturbation import perturbation_expectation

EMBEDDINGS = {"model.embed_tokens.weight", "lm_head.weight"}


def noisy_weights(noise, model, about, seed=0):
    """(draw, sign) -> theta' - theta, in fp64."""
    base = keep_base(model)
    shifts = {}
    for variant in noisy_variants(noise, model, about, base, seed):
        now = tiny.weights_of(model)
        shifts[variant.draw, variant.sign] = {name: now[name].double() - base[name].double() for name in now}
    restore(model, base)
    return shifts


def prepared(**changes):
    model = tiny.model(seed=1, **changes)
    return model, tiny.about(model, tiny.architecture(**changes))


def init_noise(strength=0.1, **changes):
    return Noise(**({"scaling": "init", "strength": strength, "draws": 2} | changes))


# nothing changes where nothing should


@pytest.mark.parametrize("scaling", ["init", "relative"])
@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"family": "olmo2"}], ids=["llama", "tied", "olmo2"])
def test_strength_zero_changes_nothing_bit_for_bit(scaling, changes):
    model, about = prepared(**changes)
    before = tiny.weights_of(model)
    count = 0
    for _ in noisy_variants(init_noise(0.0, scaling=scaling), model, about, keep_base(model), seed=0):
        count += 1
        assert tiny.same_bits(tiny.weights_of(model), before)
    assert count == 4


@pytest.mark.parametrize("strength", [1e-6, 0.3, 1e12])
def test_restore_gives_the_exact_base(strength):
    model, about = prepared()
    before, base = tiny.weights_of(model), keep_base(model)
    for _ in noisy_variants(init_noise(strength), model, about, base, seed=0):
        assert not tiny.same_bits(tiny.weights_of(model), before)
        assert tiny.same_bits(base, before)
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)


def test_a_copy_does_not_depend_on_the_copies_before_it():
    model, about = prepared()
    base = keep_base(model)
    for variant in noisy_variants(init_noise(draws=3), model, about, base, seed=4):
        last = variant
    weights = tiny.weights_of(model)
    restore(model, base)
    again = noisy_variants(init_noise(draws=3), model, about, base, seed=4)
    next(again)
    assert not tiny.same_bits(tiny.weights_of(model), weights)
    for _ in again:
        pass
    assert (last.draw, last.sign) == (2, -1)
    assert tiny.same_bits(tiny.weights_of(model), weights)


# how large it is, and where


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_each_tensor_moves_by_gamma_times_its_initial_std(family):
    shape = {"family": family, "width": 32, "heads": 4, "feed_forward": 48}
    model, about = prepared(**shape)
    with torch.no_grad():  # training has moved the weights: the scale must still be that of initialisation
        for parameter in model.parameters():
            parameter.mul_(5.0)
    shifts = noisy_weights(init_noise(0.1, draws=4, antithetic=False), model, about)
    for name, parameter in model.named_parameters():
        values = torch.stack([shift[name] for shift in shifts.values()]).flatten()
        std = 0.1 * about.init_stds[name]
        if parameter.ndim == 1:
            assert std == 0
            assert not values.any(), name
        else:
            assert float(values.square().mean().sqrt()) == pytest.approx(std, rel=4.5 / math.sqrt(2 * len(values))), (
                name
            )
            assert abs(float(values.mean())) < 4.5 * std / math.sqrt(len(values)), name


def test_relative_scaling_uses_the_rms_now_and_leaves_gains():
    model, _ = prepared()
    shifts = noisy_weights(init_noise(0.2, scaling="relative", draws=30, antithetic=False), model, About())
    for name, parameter in model.named_parameters():
        values = torch.stack([shift[name] for shift in shifts.values()]).flatten()
        if parameter.ndim == 1:
            assert not values.any(), name
        else:
            rms = float(parameter.detach().double().square().mean().sqrt())
            spread = float(values.square().mean().sqrt())
            assert spread == pytest.approx(0.2 * rms, rel=4.5 / math.sqrt(2 * len(values))), name


@pytest.mark.parametrize("scaling", ["init", "relative"])
@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_can_be_left_out(scaling, tied):
    model, about = prepared(tied=tied)
    (shift, *_) = noisy_weights(init_noise(scaling=scaling, embeddings=False), model, about).values()
    moved = {name for name, values in shift.items() if values.any()}
    assert moved == {name for name, p in model.named_parameters() if p.ndim == 2} - EMBEDDINGS


def test_embeddings_are_in_by_default():
    model, about = prepared()
    assert noise_stds(init_noise(), model, about).keys() >= EMBEDDINGS


def test_a_tied_tensor_is_drawn_once():
    model, about = prepared(tied=True)
    assert "lm_head.weight" not in noise_stds(init_noise(), model, about)
    variants = noisy_variants(init_noise(), model, about, keep_base(model), seed=0)
    next(variants)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    untied, untied_about = prepared()
    ours = noisy_weights(init_noise(), model, about)[0, 1]["model.embed_tokens.weight"]
    theirs = noisy_weights(init_noise(), untied, untied_about)[0, 1]["model.embed_tokens.weight"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_antithetic_pairs_have_the_base_as_their_mean():
    model, about = prepared()
    shifts = noisy_weights(init_noise(0.5, draws=3), model, about)
    assert list(shifts) == [(draw, sign) for draw in range(3) for sign in (1, -1)]
    for draw in range(3):
        for name, up in shifts[draw, 1].items():
            torch.testing.assert_close(up, -shifts[draw, -1][name], rtol=0, atol=1e-6, msg=name)
    assert shifts[0, 1]["lm_head.weight"].ne(shifts[1, 1]["lm_head.weight"]).all()


def test_without_antithetic_partners_the_draws_are_the_same_ones():
    model, about = prepared()
    pairs = noisy_weights(init_noise(), model, about)
    singles = noisy_weights(init_noise(antithetic=False), model, about)
    assert list(singles) == [(0, 1), (1, 1)]
    for key, shift in singles.items():
        assert tiny.same_bits(shift, pairs[key])


# its stream


class Bare(torch.nn.Module):
    """One tensor under a Llama's name, alone in another class."""

    def __init__(self, name, tensor):
        super().__init__()
        *path, last = name.split(".")
        inner = torch.nn.Module()
        inner.register_parameter(last, torch.nn.Parameter(tensor))
        for part in reversed(path[1:]):
            outer = torch.nn.Module()
            outer.add_module(part, inner)
            inner = outer
        self.add_module(path[0], inner)


def test_the_stream_does_not_depend_on_class_order_or_other_tensors():
    model, about = prepared()
    whole = noisy_weights(init_noise(), model, about, seed=3)
    for name in ("model.layers.1.mlp.up_proj.weight", "lm_head.weight"):
        alone = noisy_weights(init_noise(), Bare(name, model.get_parameter(name).detach().clone()), about, seed=3)
        for key in whole:
            assert torch.equal(alone[key][name], whole[key][name])


def test_the_stream_is_common_to_checkpoints_of_one_shape():
    base, about = prepared()
    trained = tiny.model(seed=9)
    for key, shift in noisy_weights(init_noise(), base, about).items():
        for name, values in noisy_weights(init_noise(), trained, about)[key].items():
            torch.testing.assert_close(values, shift[name], rtol=0, atol=1e-6, msg=name)


def test_the_stream_does_not_depend_on_dtype():
    model, about = prepared()
    single = noisy_weights(init_noise(), model, about)
    double = noisy_weights(init_noise(), prepared()[0].double(), about)
    for key, shift in single.items():
        for name, values in double[key].items():
            torch.testing.assert_close(values, shift[name], rtol=0, atol=1e-6, msg=name)


def test_the_stream_does_not_touch_or_read_the_global_generator():
    model, about = prepared()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = noisy_weights(init_noise(), model, about)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert tiny.same_bits(noisy_weights(init_noise(), model, about)[0, 1], first[0, 1])


def test_seed_draw_and_name_all_matter():
    model, about = prepared()
    by_seed = {seed: noisy_weights(init_noise(antithetic=False), model, about, seed) for seed in (0, 1)}
    layer = "model.layers.0.self_attn."
    drawn = [
        shifts[draw, 1][layer + f"{p}_proj.weight"] for shifts in by_seed.values() for draw in (0, 1) for p in "qk"
    ]
    flat = torch.stack([values.flatten() for values in drawn])
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(flat.shape[1])


def test_a_larger_block_begins_with_the_draws_of_a_smaller_one():
    model, about = prepared()
    small, large = (noisy_weights(init_noise(draws=draws), model, about) for draws in (2, 4))
    assert all(tiny.same_bits(small[key], large[key]) for key in small)


# refusals and labels


def test_init_scaling_needs_a_known_initialisation():
    model, about = prepared()
    with pytest.raises(CheckpointError, match=r"no init_stds in pliant.json; use scaling: relative"):
        noise_stds(init_noise(), model, About())
    partial = {name: std for name, std in about.init_stds.items() if name != "lm_head.weight"}
    with pytest.raises(CheckpointError, match=r"does not name lm_head.weight; use scaling: relative"):
        noise_stds(init_noise(), model, dataclasses.replace(about, init_stds=partial))
    assert noise_stds(init_noise(scaling="relative"), model, About())


@pytest.mark.parametrize("strength", [-0.1, math.nan, math.inf])
def test_refused_strengths(strength):
    with pytest.raises(ValueError, match="noise strength must be a finite number >= 0, got"):
        init_noise(strength)


def test_refused_draws():
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        init_noise(draws=0)


def test_the_scaling_is_part_of_the_label():
    labels = {Noise(scaling=s, strength=1, embeddings=e).label for s in ("init", "relative") for e in (True, False)}
    assert len(labels) == 4
    assert "noise, init scaling, without embeddings" in labels


# theory


class TwoLayers(torch.nn.Module):
    """x -> W1 W2 x, without transformers."""

    def __init__(self, W1, W2):
        super().__init__()
        self.first = torch.nn.Parameter(torch.tensor(W1))
        self.second = torch.nn.Parameter(torch.tensor(W2))

    def get_input_embeddings(self):
        return None

    def get_output_embeddings(self):
        return None


@pytest.mark.parametrize(("gamma", "antithetic"), [(0.2, False), (0.2, True), (0.6, False)])
def test_the_estimator_agrees_with_the_closed_form_on_a_linear_model(gamma, antithetic):
    generator = np.random.default_rng(3)
    W1, W2, A = generator.normal(size=(4, 3)), generator.normal(size=(3, 6)), generator.normal(size=(4, 6))
    stds = {"first": 0.3, "second": 1.1}
    model = TwoLayers(W1, W2)
    noise = Noise(scaling="init", strength=gamma, draws=2000, antithetic=antithetic, embeddings=False)
    losses = {}
    for variant in noisy_variants(noise, model, About(init_stds=stds), keep_base(model), seed=0):
        product = (model.first @ model.second).detach().numpy()
        losses.setdefault(variant.draw, []).append(np.sum((product - A) ** 2))
    draws = np.array([np.mean(of_draw) for of_draw in losses.values()])
    expected = perturbation_expectation(W1, W2, A, gamma * stds["first"], gamma * stds["second"])
    standard_error = draws.std(ddof=1) / math.sqrt(len(draws))
    assert abs(draws.mean() - expected) / standard_error < 4.5
    clean = np.sum((W1 @ W2 - A) ** 2)
    assert expected - clean > 20 * standard_error or gamma == 0.2  # the comparison can tell noise from none
    assert (draws.mean() - clean) / standard_error > 4.5


def test_distance_of_a_copy_is_the_norm_of_its_noise():
    model, about = prepared()
    base = keep_base(model)
    (shift, *_) = noisy_weights(init_noise(antithetic=False), model, about).values()
    next(noisy_variants(init_noise(antithetic=False), model, about, base, seed=0))
    expected = math.sqrt(sum(float(values.square().sum()) for values in shift.values()))
    assert distance(tiny.weights_of(model), base) == pytest.approx(expected, rel=1e-12)


def test_noise_drawn_ahead_for_a_large_model_has_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    network = tiny.model()
    base = tiny.weights_of(network)
    noise = Noise(scaling="relative", strength=0.1, draws=2)

    def copies() -> list[dict[str, torch.Tensor]]:
        found = [tiny.weights_of(network) for _ in noisy_variants(noise, network, About(), base, seed=3)]
        restore(network, base)
        return found

    kept = copies()
    monkeypatch.setattr("pliant.modifications.noise.is_large", lambda _: True)
    ahead = copies()
    assert len(kept) == len(ahead) == 4
    assert all(tiny.same_bits(left, right) for left, right in zip(kept, ahead, strict=True))
    assert not tiny.same_bits(kept[0], kept[1])
