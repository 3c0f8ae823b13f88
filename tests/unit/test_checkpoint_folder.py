"""A checkpoint folder is an ordinary Hugging Face folder; a damaged one is told in one line with a remedy."""

import json
import math
import os
import re
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tiny
from pliant.checkpoints import remembered, weights
from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.folder import open_checkpoint, whole_folder
from pliant.checkpoints.weights import stored_fingerprint, stored_parameters, stored_tensors

KINDS = [{}, {"tied": True}, {"family": "olmo2"}]


def refused(folder, says, **settings):
    """Opening fails with one line that names the place, the defect and what to do."""
    with pytest.raises(CheckpointError, match=says) as raised:
        open_checkpoint(folder, **settings)
    message = str(raised.value)
    assert "\n" not in message
    assert str(folder) in message
    assert re.search(r"fetch it again|expected|give |convert|delete|mend|restore", message), message


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def saved(tmp_path):
    tiny.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


# whole folders


@pytest.mark.parametrize("kind", KINDS, ids=["llama", "tied", "olmo2"])
def test_transformers_and_pliant_open_what_was_saved(tmp_path, kind):
    saved = tiny.weights_of(tiny.save(tmp_path / "one", **kind))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert tiny.same_bits(tiny.weights_of(plain), saved)
    opened = open_checkpoint(tmp_path / "one")
    assert tiny.same_bits(tiny.weights_of(opened.model), saved)
    assert not opened.model.training
    assert opened.about.tokens == 100
    assert opened.weights == opened.about.weights == stored_fingerprint(tmp_path / "one")


@pytest.mark.parametrize("kind", KINDS, ids=["llama", "tied", "olmo2"])
def test_fingerprint_does_not_depend_on_sharding(tmp_path, kind):
    model = tiny.save(tmp_path / "one", **kind)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="4KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    found = {folder: open_checkpoint(tmp_path / folder).weights for folder in ("one", "whole", "shards")}
    assert len(set(found.values())) == 1, found
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert {stored_parameters(tmp_path / folder) for folder in found} == {parameters}


def test_one_file_goes_before_shards_that_lie_beside_it(tmp_path):
    """transformers opens model.safetensors where both are there; the fingerprint is of what is opened."""
    tiny.model(seed=1).save_pretrained(tmp_path / "both", max_shard_size="4KB")
    expected = tiny.save(tmp_path / "one", seed=2)
    shutil.copy(tmp_path / "one" / "model.safetensors", tmp_path / "both")
    opened = open_checkpoint(tmp_path / "both")
    assert tiny.same_bits(tiny.weights_of(opened.model), tiny.weights_of(expected))
    assert opened.weights == stored_fingerprint(tmp_path / "one")


def test_fingerprint_changes_with_any_bit_name_dtype_or_shape(saved):
    seen = {stored_fingerprint(saved)}

    def one_bit(tensors):
        tensors["lm_head.weight"].view(torch.int32)[0, 0] ^= 1

    def a_name(tensors):
        tensors["other"] = tensors.pop("lm_head.weight")

    def a_dtype(tensors):
        tensors["other"] = tensors["other"].view(torch.int32)

    def a_shape(tensors):
        tensors["other"] = tensors["other"].T.contiguous().view(tensors["other"].shape[::-1])

    for change in (one_bit, a_name, a_dtype, a_shape):
        rewrite(saved, change)
        assert stored_fingerprint(saved) not in seen, change.__name__
        seen.add(stored_fingerprint(saved))


def test_unchanged_files_are_hashed_once_and_changed_ones_anew(saved, monkeypatch):
    file = saved / "model.safetensors"
    time.sleep(2 * remembered._TICK_NANOSECONDS / 1e9)
    first = stored_fingerprint(saved)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "_chunks", None)  # whoever reads the file, fails
        assert stored_fingerprint(saved) == first
    before = file.stat()
    rewrite(saved, lambda tensors: tensors["lm_head.weight"].neg_())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert stored_fingerprint(saved) != first


def test_two_writes_within_a_tick_are_told_apart(saved, monkeypatch):
    """The second write may leave size and times as they are: files just written are not remembered."""
    monkeypatch.setattr(remembered, "_TICK_NANOSECONDS", 10**18)
    assert stored_fingerprint(saved) == stored_fingerprint(saved)
    monkeypatch.setattr(weights, "_chunks", None)
    with pytest.raises(TypeError):
        stored_fingerprint(saved)


def test_stored_tensors_are_read_from_headers(saved):
    found = stored_tensors(saved)
    tensors = load_file(saved / "model.safetensors")
    assert {name: entry.shape for name, entry in found.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    entry = found["lm_head.weight"]
    content = entry.file.read_bytes()[entry.start : entry.stop]
    assert content == tensors["lm_head.weight"].numpy().tobytes()


def test_half_precision_opens_in_fp32(saved):
    (saved / "pliant.json").unlink()

    def halve(tensors):
        tensors |= {name: tensor.bfloat16() for name, tensor in tensors.items()}

    rewrite(saved, halve)
    opened = open_checkpoint(saved)
    assert {parameter.dtype for parameter in opened.model.parameters()} == {torch.float32}


def test_a_folder_of_others_has_no_facts(saved):
    (saved / "pliant.json").unlink()
    assert open_checkpoint(saved).about == About()


# bad input


def test_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", "no checkpoint folder at .*nowhere; give a folder with config.json")


def test_no_config(saved):
    (saved / "config.json").unlink()
    refused(saved, "has no config.json; expected a Hugging Face checkpoint folder")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read .*fetch it again"),
        ("{", "cannot be read .*fetch it again"),
        ("[]", "holds a list, expected an object; fetch it again"),
        ('{"model_type": "no-such-model"}', "does not open as a causal language model"),
    ],
)
def test_a_config_that_is_none(saved, content, says):
    (saved / "config.json").write_text(content)
    refused(saved, says)


def test_no_weights(saved):
    (saved / "model.safetensors").unlink()
    refused(saved, "has no model.safetensors; expected")


def pickle_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pickled_weights_are_refused_unless_allowed(saved):
    expected = load_file(saved / "model.safetensors")
    pickle_weights(saved)
    refused(saved, "holds pickled weights, which can run code when opened; convert them to safetensors, or set allow_p")
    (saved / "pliant.json").unlink()
    save_file({"moment": torch.zeros(2)}, saved / "optimizer.safetensors")  # not weights, whatever its extension
    opened = open_checkpoint(saved, allow_pickle=True)
    assert tiny.same_bits(tiny.weights_of(opened.model), expected)
    assert opened.weights == stored_fingerprint(saved)
    assert stored_parameters(saved) == 0


def test_pickled_weights_that_are_damaged(saved):
    pickle_weights(saved)
    content = (saved / "pytorch_model.bin").read_bytes()
    (saved / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    refused(saved, "does not open as a causal language model", allow_pickle=True)


@pytest.mark.parametrize("keep", [0, 4, 8, 60, 0.3, 0.9, -1], ids=str)
def test_truncated_safetensors(saved, keep):
    file = saved / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(saved, "cut short.*fetch it again")


def test_a_file_that_is_no_safetensors(saved):
    (saved / "model.safetensors").write_bytes(b"<html>404 Not Found</html>" * 100)
    refused(saved, "is no safetensors file .*fetch it again")


def test_a_header_that_holds_no_tensors(saved):
    (saved / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]" + b"0" * 8)
    refused(saved, "is no safetensors file .*fetch it again")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_numbers(saved, value):
    (saved / "pliant.json").unlink()

    def spoil(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value

    rewrite(saved, spoil)
    refused(saved, "tensor model.layers.1.mlp.up_proj.weight holds NaN or infinity")


def test_large_weights_are_finite_although_their_sum_is_not(saved):
    (saved / "pliant.json").unlink()

    def enlarge(tensors):
        tensors["lm_head.weight"][:] = 3e38

    rewrite(saved, enlarge)
    assert float(open_checkpoint(saved).model.lm_head.weight.detach().min()) == torch.tensor(3e38)


def test_opposite_infinities_are_found(saved):
    (saved / "pliant.json").unlink()

    def spoil(tensors):
        tensors["lm_head.weight"][0, :2] = torch.tensor([math.inf, -math.inf])

    rewrite(saved, spoil)
    refused(saved, "tensor lm_head.weight holds NaN or infinity")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vocab_size": 50}, r"lm_head.weight has shape \(40, 16\) instead of \(50, 16\), and 1 more"),
        ({"intermediate_size": 8}, r"mlp.down_proj.weight has shape \(16, 24\) instead of \(16, 8\), and 5 more"),
        ({"num_key_value_heads": 1}, r"k_proj.weight has shape \(16, 16\) instead of \(8, 16\), and 3 more"),
    ],
)
def test_config_of_another_shape(saved, capfd, change, says):
    edit_json(saved / "config.json", **change)
    refused(saved, f"config.json and the tensors disagree .*{says}")
    assert capfd.readouterr() == ("", "")  # no second account of it from transformers


def test_config_of_more_layers(saved):
    edit_json(saved / "config.json", num_hidden_layers=3)
    refused(saved, "config.json and the tensors disagree.*model.layers.2.*is missing")


def test_config_of_fewer_layers(saved):
    edit_json(saved / "config.json", num_hidden_layers=1)
    refused(saved, "config.json and the tensors disagree.*model.layers.1.*is not expected")


def test_missing_tensor(saved):
    (saved / "pliant.json").unlink()
    rewrite(saved, lambda tensors: tensors.pop("model.norm.weight"))
    refused(saved, r"config.json and the tensors disagree \(model.norm.weight is missing\)")


def sharded(tmp_path):
    tiny.model().save_pretrained(tmp_path / "shards", max_shard_size="4KB")
    return tmp_path / "shards"


def test_missing_shard(tmp_path):
    folder = sharded(tmp_path)
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    refused(folder, rf"shard {shards[1].name} is missing \(1 of {len(shards)}\); fetch it again")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_damaged_index(tmp_path, content):
    folder = sharded(tmp_path)
    (folder / "model.safetensors.index.json").write_text(content)
    refused(folder, "model.safetensors.index.json is no index of shards .*fetch it again")


def test_weights_other_than_those_told(saved):
    def nudge(tensors):
        tensors["lm_head.weight"] += 0.5

    rewrite(saved, nudge)
    refused(saved, "not those that pliant.json was written for.*; restore the folder, or delete pliant.json")


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff\xfe"])
def test_facts_that_cannot_be_read(saved, content):
    (saved / "pliant.json").write_bytes(content.encode("latin-1"))
    refused(saved, "pliant.json (cannot be read .*; mend it, or delete it to go without|holds a list; expected an obj)")


@pytest.mark.parametrize("std", [-1.0, math.nan, "0.1", None])
def test_init_stds_that_are_none(saved, std):
    edit_json(saved / "pliant.json", init_stds={"lm_head.weight": std})
    refused(saved, r"init_stds\['lm_head.weight'\] is .*; expected a number >= 0")


def test_facts_survive_writing_and_unknown_ones_are_passed_over(tmp_path):
    facts = About(tokens=5, step=0, learning_rate=0.0, annealed=False, init_stds={"w": 0.5}, norms={"w": 2.0})
    facts.write(tmp_path)
    edit_json(tmp_path / "pliant.json", of_a_later_release=1)
    assert read_about(tmp_path) == facts


# whole_folder


def test_a_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "a" / "b") as part:
        (part / "file").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["file"]
    assert [folder.name for folder in (tmp_path / "a").iterdir()] == ["b"]


class Interrupted(BaseException):
    pass


def test_an_error_leaves_nothing_behind_and_the_old_folder_in_place(tmp_path):
    def write_half(content):
        with whole_folder(tmp_path / "folder") as part:
            (part / "file").write_text(content)
            raise Interrupted

    with pytest.raises(Interrupted):
        write_half("first")
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "folder") as part:
        (part / "file").write_text("whole")
    with pytest.raises(Interrupted):
        write_half("second")
    assert [folder.name for folder in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "file").read_text() == "whole"


def test_a_whole_folder_replaces_the_old_one(tmp_path):
    for name in ("old", "new"):
        with whole_folder(tmp_path / "folder") as part:
            (part / name).write_text(name)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["new"]
