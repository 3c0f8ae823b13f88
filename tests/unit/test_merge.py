"""Merging and interpolating: weights by hand, the decay that a merge stands for, and sums against plain torch."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.combined import read_canonical
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import stored_fingerprint
from pliant.modifications.interpolate import Interpolate, interpolated_variant
from pliant.modifications.merge import Part, open_parts, parts_weights, read_parts, write_merge
from pliant.modifications.merge_weights import DECAYS, coefficients, emulating
from pliant.modifications.variant import keep_base
from theirs import save_checkpoint
from tiny_studies import is_one_line


@pytest.mark.parametrize(
    ("rule", "window", "expected"),
    [
        ("uniform", 4, [0.25] * 4),
        ("linear", 3, [1 / 6, 2 / 6, 3 / 6]),
        ("ema(0.5)", 3, [0.25, 0.25, 0.5]),
        ("ema(0.2)", 3, [0.64, 0.16, 0.2]),
        ("ema(1)", 2, [0, 1]),
        ("decay-linear", 4, [0.25] * 4),
        ("decay-cosine", 3, [0.25, 0.5, 0.25]),  # d(1/3) = 3/4, d(2/3) = 1/4
        ("decay-1-sqrt", 4, [0.5, math.sqrt(0.5) - 0.5, math.sqrt(0.75) - math.sqrt(0.5), 1 - math.sqrt(0.75)]),
        ((0.2, 0.3, 0.5), 3, [0.2, 0.3, 0.5]),
    ],
)
def test_weights_by_hand(rule: Any, window: int, expected: list[float]) -> None:
    assert coefficients(rule, window) == pytest.approx(expected)


@given(st.sampled_from(["uniform", "linear", "ema(0.3)", *DECAYS]), st.integers(1, 30))
def test_weights_sum_to_one_and_one_checkpoint_counts_whole(rule: str, window: int) -> None:
    found = coefficients(rule, window)
    assert len(found) == window
    assert sum(found) == pytest.approx(1.0, abs=1e-12)
    assert min(found) >= 0
    assert coefficients(rule, 1) == (1.0,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 99))
def test_a_merge_is_constant_rate_sgd_with_damped_updates(unordered: list[float], seed: int) -> None:
    """Four SGD steps a block on a quadratic; each block's updates scaled by its multiplier give the merge."""
    multipliers, draw = sorted(unordered, reverse=True), np.random.default_rng(seed)
    curvature, theta = draw.uniform(0.1, 1, size=5), draw.normal(size=5)
    checkpoints, blocks = [theta], []
    for _ in multipliers:
        moved = np.zeros(5)
        for _ in range(4):
            moved -= 0.3 * curvature * (checkpoints[-1] + moved - draw.normal(size=5))
        blocks.append(moved)
        checkpoints.append(checkpoints[-1] + moved)
    merged = sum(c * t for c, t in zip(emulating(multipliers), checkpoints, strict=True))
    damped = theta + sum(w * g for w, g in zip(multipliers, blocks, strict=True))
    assert np.allclose(merged, damped, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "window", "said"),
    [
        ("mean", 3, "'mean' are not known; give uniform, linear"),
        ("ema(0)", 3, "above 0 and at most 1, got 0.0"),
        ((0.5, 0.6), 2, "sum to 1"),
        ((1.5, -0.5), 2, "numbers >= 0"),
        ((math.nan, 1.0), 2, "numbers >= 0"),
        ((0.5, 0.5), 3, "2 merge weights for 3 checkpoints"),
    ],
)
def test_weights_that_make_no_sense_are_refused(rule: Any, window: int, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        coefficients(rule, window)
    assert is_one_line(str(caught.value))


KINDS = [{}, {"tied": True}, {"family": "olmo2"}]


def saved(folder: Path, **kind: Any) -> tuple[list[Path], list[dict[str, torch.Tensor]]]:
    """Three checkpoints of one shape, the oldest first, and their tensors."""
    folders = [folder / f"tokens-{seed}K" for seed in (1, 2, 3)]
    return folders, [tiny.weights_of(tiny.save(f, seed=seed, **kind)) for seed, f in enumerate(folders)]


@pytest.mark.parametrize("kind", KINDS, ids=["llama", "tied", "olmo2"])
def test_a_sum_is_that_of_plain_torch(tmp_path: Path, kind: dict[str, Any]) -> None:
    folders, tensors = saved(tmp_path, **kind)
    weights = (0.5, 0.125, 0.375)
    parts = tuple(Part(folder=f, weight=w) for f, w in zip(folders, weights, strict=True))
    opened = open_parts(parts)
    for name, found in tiny.weights_of(opened.model).items():
        whole = sum(w * one[name].double() for w, one in zip(weights, tensors, strict=True))
        assert torch.equal(found, whole.float()), name
    assert tiny.same_bits(dict(read_parts(parts, opened.model)), tiny.weights_of(opened.model))


def test_one_member_of_weight_one_keeps_its_bits_wherever_it_stands(tmp_path: Path) -> None:
    folders, tensors = saved(tmp_path)
    for place in range(3):
        parts = tuple(Part(folder=f, weight=float(i == place)) for i, f in enumerate(folders))
        assert tiny.same_bits(tiny.weights_of(open_parts(parts).model), tensors[place])
    alone = open_parts((Part(folder=folders[1], weight=1.0),))
    assert tiny.same_bits(tiny.weights_of(alone.model), tensors[1])
    assert alone.weights == stored_fingerprint(folders[1])


def test_the_fingerprint_of_a_sum_depends_on_its_parts_and_weights(tmp_path: Path) -> None:
    (a, b, c), _ = saved(tmp_path)

    def named(*parts: tuple[Path, float]) -> str:
        return parts_weights(tuple(Part(folder=f, weight=w) for f, w in parts))

    found = [named((a, 0.5), (b, 0.5)), named((a, 0.4), (b, 0.6)), named((a, 0.5), (c, 0.5)), named((b, 0.5), (a, 0.5))]
    assert len(set(found)) == 4
    assert all(one.startswith("merge:") for one in found)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS, ids=["llama", "tied", "olmo2"])
def test_interpolation_is_the_straight_line_and_its_ends_are_exact(
    tmp_path: Path, weight: float, kind: dict[str, Any]
) -> None:
    folders, (one, other, _) = saved(tmp_path, **kind)
    model = open_parts((Part(folder=folders[0], weight=1.0),)).model
    theirs = read_canonical(folders[1], model)
    list(interpolated_variant(Interpolate(strength=weight, partner="x"), model, keep_base(model), theirs, "sha"))
    found = tiny.weights_of(model)
    if weight in (0.0, 1.0):
        assert tiny.same_bits(found, other if weight else one)
    for name, tensor in found.items():
        line = (1 - weight) * one[name].numpy().astype(np.float64) + weight * other[name].numpy().astype(np.float64)
        assert np.array_equal(tensor.numpy(), line.astype(np.float32)), name


def test_the_ends_keep_the_signs_of_zeros_and_files_of_other_dtypes_are_read(tmp_path: Path) -> None:
    folders, (one, *_) = saved(tmp_path)
    file = folders[1] / "model.safetensors"
    save_file({name: (-0.0 * tensor).bfloat16() for name, tensor in load_file(file).items()}, file)
    (folders[1] / "pliant.json").unlink()
    zeros = dict(read_canonical(folders[1], tiny.model()))
    model = open_parts((Part(folder=folders[1], weight=1.0),)).model  # theta and the other are the same signed zeros
    for weight in (0.0, 1.0):
        list(
            interpolated_variant(Interpolate(strength=weight, partner="x"), model, keep_base(model), zeros.items(), "s")
        )
        for name, tensor in tiny.weights_of(model).items():
            assert torch.equal(tensor.signbit(), zeros[name].signbit()), name
            assert tensor.dtype is torch.float32
    assert any(tensor.signbit().any() for tensor in zeros.values())
    mixed = open_parts((Part(folder=folders[1], weight=0.5), Part(folder=folders[0], weight=0.5))).model
    assert all(torch.equal(tensor, one[name] / 2) for name, tensor in tiny.weights_of(mixed).items())


def other_names(folder: Path, rename: Any) -> None:
    file = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file)
    (folder / "pliant.json").unlink()


def test_names_with_and_without_the_prefix_of_the_class_are_one(tmp_path: Path) -> None:
    folders, (one, *_) = saved(tmp_path)
    model = tiny.model(seed=9)
    other_names(folders[0], lambda name: name.removeprefix("model."))
    assert tiny.same_bits(dict(read_canonical(folders[0], model)), one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("lm_head.weight"), "lm_head.weight is not there"),
        (lambda t: t.update({"model.layers.2.mlp.x": torch.ones(2)}), "model.layers.2.mlp.x is not expected"),
        (lambda t: t.update({"lm_head.weight": torch.ones(3, 16)}), r"has shape \(3, 16\) instead of \(40, 16\)"),
        (lambda t: t["lm_head.weight"].fill_(math.nan), "lm_head.weight holds NaN"),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: Any, said: str) -> None:
    folders, _ = saved(tmp_path)
    file = folders[0] / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    (folders[0] / "pliant.json").unlink()
    with pytest.raises(CheckpointError, match=said) as caught:
        open_parts((Part(folder=folders[0], weight=0.5), Part(folder=folders[1], weight=0.5)))
    assert is_one_line(str(caught.value))
    assert str(folders[0]) in str(caught.value)


# folders


def test_a_merged_folder_opens_in_transformers_with_its_tokenizer_and_facts(tmp_path: Path) -> None:
    folders = [save_checkpoint(tmp_path / f"at-{n}", seed=n, tokens=1000 * n, known_init=True) for n in (1, 2, 3)]
    out = write_merge(folders, tmp_path / "out" / "merged", weights="linear")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype is torch.float32
    stored = [load_file(folder / "model.safetensors") for folder in folders]
    for name, found in model.named_parameters():
        whole = (1 * stored[0][name].double() + 2 * stored[1][name].double() + 3 * stored[2][name].double()) / 6
        assert torch.allclose(found.double(), whole, rtol=0, atol=1e-7), name
    assert len(AutoTokenizer.from_pretrained(out)) == len(AutoTokenizer.from_pretrained(folders[2]))
    about = read_about(out)
    assert about.tokens == 3000
    assert about.weights == stored_fingerprint(out)
    assert about.init_stds == read_about(folders[2]).init_stds
    assert about.recipe is not None
    assert about.recipe.startswith("merge: 0.166667 x sha256:")
    assert not open_parts((Part(folder=out, weight=1.0),)).model.training


def test_a_merge_of_halves_is_stored_as_asked(tmp_path: Path) -> None:
    folders, tensors = saved(tmp_path)
    out = write_merge(folders[:2], tmp_path / "merged", dtype="bfloat16")
    stored = load_file(out / "model.safetensors")
    for name, found in stored.items():
        assert torch.equal(found, ((tensors[0][name].double() + tensors[1][name].double()) / 2).float().bfloat16())
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    folders, _ = saved(tmp_path)
    for given_, settings_, said in (
        (folders, {"weights": "mean"}, "'mean' are not known"),
        (folders, {"dtype": "int8"}, "'int8' is not one of float32"),
        ([tmp_path / "nowhere", *folders], {}, "no checkpoint folder at"),
    ):
        with pytest.raises(ValueError, match=said):
            write_merge(given_, tmp_path / "out", **settings_)
        assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="exists and is not empty; give a new folder"):
        write_merge(folders, folders[0])
    About(tokens=5).write(folders[2])
    with pytest.raises(CheckpointError, match=r"has seen 5 tokens and comes after .* with 100; give the oldest first"):
        write_merge(folders, tmp_path / "out")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    folders, _ = saved(tmp_path)
    deeper = tiny.model(layers=3)
    (tmp_path / "deeper").mkdir()
    save_weights(deeper, tmp_path / "deeper")
    with pytest.raises(CheckpointError, match="combine checkpoints of one architecture"):
        write_merge([tmp_path / "deeper", folders[0]], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"layers.2.* is not there"):
        write_merge([folders[0], tmp_path / "deeper"], tmp_path / "out")


def test_the_command_writes_the_same_folder_and_says_what_counted_how_much(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from pliant.cli import app

    folders, _ = saved(tmp_path)
    given_ = [str(folder) for folder in folders]
    done = CliRunner().invoke(
        app, ["merge", *given_, "--weights", "0.2,0.3,0.5", "--out", str(tmp_path / "by command")]
    )
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["0.2000", "0.3000", "0.5000", "merge:"]
    write_merge(folders, tmp_path / "by call", weights=(0.2, 0.3, 0.5))
    assert stored_fingerprint(tmp_path / "by command") == stored_fingerprint(tmp_path / "by call")
