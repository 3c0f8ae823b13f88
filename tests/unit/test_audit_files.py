"""The audit of checkpoints on disk: every check fires on what it is for, and not on a sound run."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from pliant.checkpoints.about import About
from pliant.checkpoints.audit.audit import audit_files, audit_weights, suspects
from pliant.checkpoints.audit.finding import Finding, named
from pliant.checkpoints.audit.loss_curve import TextLoss, loss_findings
from pliant.checkpoints.audit.norm_curve import outliers
from pliant.checkpoints.audit.sketch import read_sketch, sample_places
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.trajectory import Member, trajectory
from pliant.checkpoints.weights import stored_tensors
from pliant.data.tokenizers import open_tokenizer


def save(network, folder, **facts):
    folder.mkdir(parents=True)
    save_weights(network, folder)
    About(**facts).write(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Eight checkpoints of a random walk of the weights, a tokenizer beside each."""
    root = tmp_path_factory.mktemp("sound")
    network = tiny.model()
    tokenizer = open_tokenizer("markov")
    for place in range(1, 9):
        with torch.no_grad():
            for parameter in network.parameters():
                step = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
                parameter.add_(0.1 * parameter.std(unbiased=False).clamp(min=0.1) * step)
        save(network, root / f"step{place}", tokens=100 * place, seed=1)
        content = json.loads(tokenizer.backend.backend_tokenizer.to_str())
        content["model"]["vocab"] = dict(list(content["model"]["vocab"].items())[: tiny.VOCABULARY])
        (root / f"step{place}" / "tokenizer.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def run(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


def members(root):
    return trajectory(root).members


def findings(root, level=None):
    found = audit_weights(members(root)).findings
    return {(one.check, one.level, one.checkpoints) for one in found if level in (None, one.level)}


def message(root, check):
    return next(one.message for one in audit_weights(members(root)).findings if one.check == check)


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_sound_run_has_no_finding(run):
    assert findings(run) == set()
    assert suspects(members(run)) == ()


def test_duplicate_and_truncated_of_eight(run):
    shutil.copy(run / "step8" / "model.safetensors", run / "step2")
    weights = run / "step5" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])
    found = {(one.check, one.checkpoints): one for one in suspects(members(run))}
    assert set(found) == {("duplicate", ("step2", "step8")), ("cut-short", ("step5",))}
    assert "final weights under early names" in found["duplicate", ("step2", "step8")].message
    assert "is cut short" in found["cut-short", ("step5",)].message
    rows = audit_weights(members(run)).rows
    assert [row.fingerprint is None for row in rows] == [False] * 4 + [True] + [False] * 3
    assert rows[0].norm == pytest.approx(float(np.linalg.norm(_all_weights(run / "step1"))))


def _all_weights(folder):
    from safetensors.numpy import load_file

    return np.concatenate([tensor.ravel() for tensor in load_file(folder / "model.safetensors").values()])


def test_main_may_equal_the_last_checkpoint_but_no_other(run):
    shutil.copytree(run / "step8", run / "main")
    About(seed=1).write(run / "main")
    assert findings(run) == {("duplicate", "note", ("step8", "main"))}
    shutil.copy(run / "step3" / "model.safetensors", run / "main")
    assert findings(run) == {("duplicate", "warning", ("step3", "main"))}


def test_equal_weights_of_two_seeds_are_an_error(run):
    shutil.copytree(run / "step8", run / "other")
    About(tokens=800, seed=2).write(run / "other")
    assert ("duplicate", "error", ("step8", "other")) in findings(run, "error")


def test_equal_weights_in_another_dtype_are_found(run):
    network = tiny.model()
    from safetensors.torch import load_file

    network.load_state_dict(load_file(run / "step8" / "model.safetensors"), strict=False)
    network.bfloat16()
    shutil.rmtree(run / "step2")
    save(network, run / "step2", tokens=200, seed=1)
    found = findings(run)
    assert ("duplicate", "error", ("step2", "step8")) in found
    assert ("dtype", "warning", ("step2",)) in found


def test_a_missing_shard(run):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (run / "step3" / "model.safetensors.index.json").write_text(json.dumps(index))
    (run / "step3" / "model.safetensors").rename(run / "step3" / "model-00001-of-00002.safetensors")
    assert [(one.check, one.checkpoints) for one in suspects(members(run))] == [("missing-shard", ("step3",))]


def test_checkpoints_out_of_order(run):
    for step, tokens in ((2, 600), (6, 200)):
        About(tokens=tokens, seed=1).write(run / f"step{step}")
    found = {one.checkpoints: one for one in suspects(members(run))}
    assert set(found) == {("step2",), ("step6",)}
    assert "by its weights it lies between step1 and step3" in found["step2",].message


def test_independent_seeds_are_no_finding(tmp_path):
    for seed in (1, 2, 3):
        for budget in (1, 2, 3):
            save(tiny.model(10 * seed + budget), tmp_path / f"{seed}-{budget}", tokens=budget * 100, seed=seed)
    assert audit_files(members(tmp_path)).findings == ()


def test_pickled_weights_are_named(run):
    shutil.rmtree(run / "step1")
    (run / "step1").mkdir()
    (run / "step1" / "config.json").write_text((run / "step2" / "config.json").read_text())
    torch.save({"w": torch.zeros(2)}, run / "step1" / "pytorch_model.bin")
    assert ("format", "warning", ("step1",)) in findings(run)


def test_a_config_that_does_not_fit(run):
    edit(run / "step4" / "config.json", num_hidden_layers=3, vocab_size=99)
    assert ("shape", "error", ("step4",)) in findings(run)
    assert "num_hidden_layers 3 in config.json, 2 in the tensors" in message(run, "shape")
    assert "vocab_size 99 in config.json, 40 in the tensors" in message(run, "shape")


def test_another_shape_midway(run):
    shutil.rmtree(run / "step4")
    save(tiny.model(width=24, heads=2), run / "step4", tokens=400, seed=1)
    assert ("shape", "error", ("step4",)) in findings(run)
    assert "is of another shape than step" in message(run, "shape")


def test_config_settings_count_and_library_versions_do_not(run):
    edit(run / "step4" / "config.json", transformers_version="0.0")
    assert findings(run) == set()
    edit(run / "step4" / "config.json", rms_norm_eps=0.5)
    assert findings(run) == {("config", "warning", ("step4",))}
    assert "differs from that of step" in message(run, "config")
    (run / "step4" / "config.json").write_text("[")
    assert ("config", "error", ("step4",)) in findings(run)


def test_dtype_against_config(run):
    edit(run / "step4" / "config.json", dtype="bfloat16")
    assert findings(run) == {("dtype", "warning", ("step4",))}


def test_nan_is_named(run):
    from safetensors.torch import load_file, save_file

    tensors = load_file(run / "step4" / "model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, run / "step4" / "model.safetensors", metadata={"format": "pt"})
    assert ("not-finite", "error", ("step4",)) in findings(run)
    assert "NaN or infinity in model.norm.weight" in message(run, "not-finite")
    json.dumps(audit_weights(members(run)).to_json(), allow_nan=False)


def test_another_tokenizer(run):
    file = run / "step4" / "tokenizer.json"
    edit(file, truncation=None, padding=None)  # the caller's, and another text: the same tokenizer
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    assert findings(run) == set()
    edit(file, normalizer={"type": "Lowercase"})
    assert findings(run) == {("tokenizer", "error", ("step4",))}


def test_a_tokenizer_with_more_ids_than_the_model_embeds(run):
    for folder in run.iterdir():
        token = {"id": tiny.VOCABULARY, "content": "<x>"}
        edit(folder / "tokenizer.json", added_tokens=[token])
    assert {check for check, *_ in findings(run, "error")} == {"tokenizer"}
    assert message(run, "tokenizer") == "has a tokenizer with 41 ids and a model that embeds 40"


def test_a_norm_off_the_curve(run):
    from safetensors.torch import load_file, save_file

    file = run / "step4" / "model.safetensors"
    save_file({name: 1.3 * tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert findings(run) == {("norm-outlier", "warning", ("step4",))}
    assert "1.30 times" in message(run, "norm-outlier") or "1.29 times" in message(run, "norm-outlier")


def test_too_few_for_a_curve_is_said(run):
    for step in range(5, 9):
        shutil.rmtree(run / f"step{step}")
    assert {(check, level) for check, level, _ in findings(run)} == {("norm-outlier", "note")}


def test_smooth_curves_have_no_outlier_and_a_spike_is_one():
    rng = np.random.default_rng(0)
    tokens = np.arange(1.0, 31.0)
    alarms = hits = 0
    for _ in range(200):
        norms = 10 * tokens ** rng.uniform(-0.3, 0.5) * np.exp(0.01 * rng.normal(size=30))
        alarms += bool(outliers(tokens, norms))
        norms[17] *= 1.5
        hits += [at for at, _ in outliers(tokens, norms)] == [17]
    assert alarms <= 2
    assert hits >= 195


def test_sketches_are_the_stored_weights_whatever_the_shards(run):
    sketch = read_sketch(stored_tensors(run / "step1"))
    stored = tiny.model()  # names and shapes only
    assert sketch.keys() == dict(stored.named_parameters()).keys()
    everything = _all_weights(run / "step1")
    assert sum(len(values) for values in sketch.values()) == len(everything)  # a tiny model is its own sketch
    places = sample_places("w", (1000, 1000), 4096)
    assert len(places) <= 4096
    assert places.max() < 1_000_000
    assert np.array_equal(places, sample_places("w", (1000, 1000), 4096))


def _losses(curve, noise=0.3, blocks=32, vocabulary=256):
    rng = np.random.default_rng(0)
    text = noise * rng.normal(size=blocks)
    names = [f"step{i}" for i in range(len(curve))]
    run = [Member(name=name, folder=None, about=About(tokens=i)) for i, name in enumerate(names)]
    values = [loss + text + 0.02 * rng.normal(size=blocks) for loss in curve]
    return run, {
        name: TextLoss(blocks=value, vocabulary_size=vocabulary) for name, value in zip(names, values, strict=True)
    }


def test_a_falling_loss_is_no_finding_and_small_rises_are_none():
    assert loss_findings(*_losses([5.5, 3.0, 2.5, 2.51, 2.4, 2.43])) == ()


def test_a_later_checkpoint_that_loses_more_is_found():
    (finding,) = loss_findings(*_losses([5.5, 3.0, 2.5, 5.0, 2.4]))
    assert (finding.level, finding.checkpoints) == ("error", ("step2", "step3"))
    assert "step3 loses 2.50 nats more than step2" in finding.message
    (finding,) = loss_findings(*_losses([5.5, 3.0, 2.5, 2.8, 2.4]))
    assert (finding.level, finding.checkpoints) == ("warning", ("step2", "step3"))


def test_an_early_checkpoint_with_a_late_loss_is_named_once():
    (finding,) = loss_findings(*_losses([5.5, 2.0, 3.5, 3.0, 2.5, 2.0]))
    assert finding.checkpoints == ("step1", "step2", "step3", "step4")


def test_seeds_are_not_compared_and_nan_is_an_error():
    run, losses = _losses([5.5, 2.0, 5.5, 2.0])
    run = [replace(one, about=replace(one.about, seed=i // 2)) for i, one in enumerate(run)]
    assert loss_findings(run, losses) == ()
    losses["step3"] = TextLoss(blocks=np.full(32, np.nan), vocabulary_size=256)
    assert [(one.level, one.checkpoints) for one in loss_findings(run, losses)] == [("error", ("step3",))]


def test_names_in_a_sentence():
    assert named(("a",)) == "a"
    assert named(("a", "b")) == "a and b"
    assert named(tuple("abcdefg")) == "a, b, c and 4 more"
    one = Finding(check="gap", level="note", checkpoints=("a", "b"), message="differ")
    assert one.sentence == "a and b differ."
