"""Shapes and presets: parameter counts, initial weights, and the paper's sizes taking real steps."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

import tiny
from pliant.checkpoints.architecture import PRESETS, Architecture, build_model, empty_model, init_stds
from pliant.checkpoints.folder import open_checkpoint
from pliant.data.tokenizers import open_tokenizer
from pliant.records.numerics import Numerics
from pliant.training.pretraining import Recipe, Run, Segment, run_segment
from pliant.training.schedules import Schedule


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", ["llama", "olmo2"])
@pytest.mark.parametrize("shape", [{}, {"width": 24, "layers": 3, "heads": 4, "feed_forward": 40}])
def test_counted_parameters_are_those_of_the_model(family, tied, shape):
    architecture = tiny.architecture(family=family, tied=tied, **shape)
    model = build_model(architecture, 50, seed=0)
    assert architecture.parameters(50) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("preset", "vocabulary", "parameters"),
    [("width-8", 256, 5_416), ("width-8-markov", 64, 2_344), ("width-32", 256, 40_096)],
)
def test_demo_presets_by_hand(preset, vocabulary, parameters):
    assert PRESETS[preset].parameters(vocabulary) == parameters


@pytest.mark.parametrize(("preset", "millions"), [("15M", 15.0), ("30M", 34.2), ("90M", 88.8)])
def test_paper_presets_come_near_their_names(preset, millions):
    assert PRESETS[preset].parameters(50_304) / 1e6 == pytest.approx(millions, abs=0.3)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_of_its_shape(name):
    architecture = PRESETS[name]
    with torch.device("meta"):
        model = empty_model(architecture, 1000)
    assert architecture.parameters(1000) == sum(parameter.numel() for parameter in model.parameters())
    assert model.config.max_position_embeddings == architecture.context
    assert dataclasses.replace(architecture) == architecture


@pytest.mark.parametrize("family", ["llama", "olmo2"])
@pytest.mark.parametrize("initialisation", ["fan-in", "normal-0.02"])
def test_initial_weights_have_the_standard_deviations_told(family, initialisation):
    architecture = tiny.architecture(family=family, initialisation=initialisation, width=64, feed_forward=96, heads=4)
    tensors = tiny.weights_of(build_model(architecture, 300, seed=5))
    for name, std in init_stds(architecture, tensors).items():
        tensor = tensors[name].double()
        if tensor.ndim == 1:
            assert std == 0
            assert (tensor == 1).all(), name
        else:
            # A sample std of n normal values errs by std / sqrt(2 n), a mean by std / sqrt(n).
            assert float(tensor.std()) == pytest.approx(std, rel=4.5 / math.sqrt(2 * tensor.numel())), name
            assert abs(float(tensor.mean())) < 4.5 * std / math.sqrt(tensor.numel()), name


def test_fan_in_stds_by_hand():
    architecture = tiny.architecture(width=16, feed_forward=25, layers=2)
    stds = init_stds(architecture, tiny.weights_of(tiny.model(width=16, feed_forward=25)))
    layer = "model.layers.1."
    assert stds["model.embed_tokens.weight"] == 1
    for name in ("lm_head.weight", layer + "self_attn.q_proj.weight", layer + "mlp.up_proj.weight"):
        assert stds[name] == 0.25
    assert stds[layer + "self_attn.o_proj.weight"] == pytest.approx(0.25 / 2)
    assert stds[layer + "mlp.down_proj.weight"] == pytest.approx(0.2 / 2)
    assert stds["model.norm.weight"] == 0


def test_truncation_is_counted_in_the_std_told():
    stds = init_stds(tiny.architecture(initialisation="normal-0.02"), {"w": torch.zeros(2, 2)})
    assert stds["w"] == pytest.approx(0.02 * truncnorm(-3, 3).std(), rel=1e-9)


def test_truncated_initialisation_stays_within_three_standard_deviations():
    tensors = tiny.weights_of(tiny.model(initialisation="normal-0.02", width=64, heads=4))
    largest = max(float(tensor.abs().max()) for tensor in tensors.values() if tensor.ndim == 2)
    assert 0.055 < largest <= 0.06


@pytest.mark.parametrize("initialisation", ["fan-in", "normal-0.02"])
def test_the_seed_alone_decides_the_bits(initialisation):
    torch.manual_seed(1)
    first = tiny.weights_of(tiny.model(seed=7, initialisation=initialisation))
    torch.manual_seed(2)
    again = tiny.weights_of(tiny.model(seed=7, initialisation=initialisation))
    other = tiny.weights_of(tiny.model(seed=8, initialisation=initialisation))
    assert tiny.same_bits(first, again)
    assert not any(torch.equal(first[name], other[name]) for name in first if first[name].ndim == 2)


def test_tensors_of_one_shape_differ():
    tensors = tiny.weights_of(tiny.model())
    layer = "model.layers.0.self_attn."
    assert not torch.equal(tensors[layer + "q_proj.weight"], tensors[layer + "k_proj.weight"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"width": 10, "heads": 4}, "width 10 over 4 heads is no even whole number"),
        ({"width": 6, "heads": 2}, "width 6 over 2 heads is no even whole number; RoPE needs an even head size"),
    ],
)
def test_refused_shapes(changes, says):
    with pytest.raises(ValueError, match=says):
        tiny.architecture(**changes)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["30M", "90M"])
def test_paper_sizes_take_ten_steps_save_and_reopen(preset, tmp_path):
    architecture: Architecture = PRESETS[preset]
    run = Run(
        architecture=architecture,
        vocabulary_size=50_304,
        recipe=Recipe(learning_rate=1e-3, batch_windows=2, schedule=Schedule(kind="cosine", warmup_steps=2)),
        recipe_digest="recipe",
        seed=0,
        numerics=Numerics(),
        bytes_per_token=None,
    )
    losses = []
    run_segment(
        run,
        Segment(start=0, stop=10, total=10),
        tiny.stream(context=16, tokens=50, vocabulary=50_304),  # three windows again and again: the loss must fall
        open_tokenizer("bytes"),
        begin_from=None,
        out=tmp_path / preset,
        scratch=tmp_path / "snapshots",
        keep_optimizer=False,
        snapshot_seconds=math.inf,
        progress=lambda share, facts: losses.append(facts["loss"]),
    )
    checkpoint = open_checkpoint(tmp_path / preset)
    assert checkpoint.about.step == 10
    found = tiny.weights_of(checkpoint.model)
    assert sum(tensor.numel() for tensor in found.values()) == architecture.parameters(50_304)
    initial = tiny.weights_of(build_model(architecture, 50_304, seed=0))
    assert not any(torch.equal(found[name], initial[name]) for name in found)
    windows = torch.from_numpy(tiny.stream(context=16, tokens=50, vocabulary=50_304).windows(0, 3))
    with torch.inference_mode():
        loss = checkpoint.model(input_ids=windows, labels=windows).loss.item()
    assert losses[0] == pytest.approx(np.log(50_304), abs=0.5)
    assert loss < losses[0] - 1
