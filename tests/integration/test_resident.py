"""Checkpoint after checkpoint in one resident model: the same bits as from_pretrained, or a new model."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import tiny
from pliant.checkpoints import stored
from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import Checkpoint, open_checkpoint
from pliant.checkpoints.pretrained import unfilled
from pliant.checkpoints.resident import Resident
from pliant.modifications import variant
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.studies import group
from tiny_studies import of_checkpoints, record_files, run

Tensors = dict[str, torch.Tensor]
SHAPE = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
CLASSES = {
    "llama": (LlamaForCausalLM, LlamaConfig),
    "olmo2": (Olmo2ForCausalLM, Olmo2Config),
    "gpt-neox": (GPTNeoXForCausalLM, GPTNeoXConfig),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "olmoe": (OlmoeForCausalLM, OlmoeConfig),
}


def save(
    folder: Path, name: str, seed: int, *, dtype: torch.dtype = torch.float32, shard="1GB", **changes: Any
) -> Path:
    """A model of that class whose every tensor is random, gains and biases too."""
    model_class, config_class = CLASSES[name]
    heads = {} if name == "gpt-neox" else {"num_key_value_heads": 2}
    model = model_class(config_class(**SHAPE | heads | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    tensors = change(load_file(folder / "model.safetensors"))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def everything(model: Any) -> dict[str, torch.Tensor]:
    """Weights and all buffers, and the logits that come of them."""
    with torch.no_grad():
        logits = model(input_ids=tiny.token_ids()).logits
    return model.state_dict() | dict(model.named_buffers()) | {"logits": logits}


def is_as_fresh(opened: Checkpoint, folder: Path) -> bool:
    fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tied = [len(set(map(id, model.parameters()))) for model in (opened.model, fresh)]
    return tied[0] == tied[1] and tiny.same_bits(everything(opened.model), everything(fresh))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save(tmp_path / "first", "llama", 1), save(tmp_path / "second", "llama", 2)


# the same bits, in the same model


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("name", ["llama", "olmo2", "gpt-neox", "qwen2"])
def test_one_model_takes_every_checkpoint_bit_for_bit(tmp_path: Path, name: str, tied: bool) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"dtype": torch.bfloat16, "shard": "4KB"},
        {"dtype": torch.float16},
        {"shard": "4KB"},
    ]
    resident, models = Resident(), set()
    for seed, way in enumerate(ways):
        folder = save(tmp_path / str(seed), name, seed, tie_word_embeddings=tied, **way)
        assert len(list(folder.glob("*.safetensors"))) == 1 or "shard" in way
        opened = open_checkpoint(folder, into=resident)
        assert is_as_fresh(opened, folder), way
        assert opened.stored is not None
        assert tiny.same_bits(dict(opened.stored), tiny.weights_of(opened.model)), way
        models.add(id(opened.model))
    assert len(models) == 1


def test_transformers_builds_where_the_tensors_are_not_all_there_is(tmp_path: Path) -> None:
    """The first model is read by pliant too; with a tensor more or fewer `from_pretrained` decides."""
    folder = save(tmp_path / "plain", "llama", 0)
    assert unfilled(folder) is not None
    edit_config(folder, quantization_config={"quant_method": "fp8"})
    assert unfilled(folder) is None
    more = rewrite(save(tmp_path / "more", "llama", 1), lambda tensors: tensors | {"one.more": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"one\.more is not expected"):
        open_checkpoint(more)


def pythia(tensors: Tensors) -> Tensors:
    """As Pythia was published: another name for the head, and buffers that are computed today."""
    renamed = {name.replace("lm_head.", "embed_out."): tensor for name, tensor in tensors.items()}
    layer = "gpt_neox.layers.0.attention."
    return renamed | {layer + "bias": torch.ones(1, 1, 12, 12), layer + "rotary_emb.inv_freq": torch.ones(2)}


def without_prefix(tensors: Tensors) -> Tensors:
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def under_the_head(tensors: Tensors) -> Tensors:
    return {name.replace("model.embed_tokens.", "lm_head."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("name", "tied", "layout"),
    [
        ("gpt-neox", False, pythia),
        ("llama", True, without_prefix),
        ("llama", False, without_prefix),
        ("llama", True, under_the_head),
    ],
)
def test_names_of_older_layouts_are_read_into_the_same_model(tmp_path: Path, name: str, tied: bool, layout) -> None:
    folders = [rewrite(save(tmp_path / str(s), name, s, tie_word_embeddings=tied), layout) for s in range(2)]
    resident = Resident()
    opened = [open_checkpoint(folder, into=resident) for folder in folders]
    assert opened[0].model is opened[1].model
    assert is_as_fresh(opened[1], folders[1])


def test_what_was_done_to_the_model_before_leaves_no_trace(pair: tuple[Path, Path]) -> None:
    resident = Resident()
    model = open_checkpoint(pair[0], into=resident).model
    model.train()
    model.set_attn_implementation("eager")
    model(input_ids=tiny.token_ids()).logits.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.model.norm.weight.requires_grad_(False)
    opened = open_checkpoint(pair[1], into=resident)
    assert opened.model is model
    assert is_as_fresh(opened, pair[1])
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    assert model.name_or_path == str(pair[1])


def test_fields_that_do_not_matter_build_no_new_model(pair: tuple[Path, Path]) -> None:
    edit_config(pair[1], dtype="bfloat16", transformers_version="4.0.0", _name_or_path="elsewhere")
    resident = Resident()
    first, second = (open_checkpoint(folder, into=resident) for folder in pair)
    assert first.model is second.model


# where a new model is built


@pytest.mark.parametrize(
    "change", [{"rms_norm_eps": 0.1}, {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4}]
)
def test_another_architecture_midway_builds_a_new_model(pair: tuple[Path, Path], change: dict[str, Any]) -> None:
    """Both changes leave names and shapes as they are, and change what the model computes."""
    resident = Resident()
    before = open_checkpoint(pair[0], into=resident).model
    edit_config(pair[1], **change)
    for folder in (pair[1], pair[0]):
        opened = open_checkpoint(folder, into=resident)
        assert opened.model is not before
        assert is_as_fresh(opened, folder)
        before = opened.model


def test_another_class_midway_builds_a_new_model(tmp_path: Path) -> None:
    resident = Resident()
    for seed, name in enumerate(["llama", "qwen2", "llama"]):
        folder = save(tmp_path / str(seed), name, seed)
        assert is_as_fresh(open_checkpoint(folder, into=resident), folder)


def test_other_generation_settings_build_a_new_model(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 7}))
    resident = Resident()
    opened = [open_checkpoint(folder, into=resident) for folder in pair]
    assert [one.model.generation_config.max_new_tokens for one in opened] == [None, 7]


@pytest.mark.parametrize("equal", [True, False])
def test_tied_by_the_config_and_stored_twice(tmp_path: Path, equal: bool) -> None:
    """transformers ties them where they are equal and leaves them apart where they are not."""

    def twice(tensors: Tensors) -> Tensors:
        embedding = tensors["model.embed_tokens.weight"]
        return tensors | {"lm_head.weight": embedding if equal else embedding + 1}

    resident = Resident()
    for seed in range(2):
        folder = rewrite(save(tmp_path / str(seed), "llama", seed, tie_word_embeddings=True), twice)
        opened = open_checkpoint(folder, into=resident)
        assert is_as_fresh(opened, folder)
        assert opened.stored is None


def test_experts_that_are_fused_on_loading(tmp_path: Path) -> None:
    resident = Resident()
    for seed in range(2):
        folder = save(tmp_path / str(seed), "olmoe", seed, num_experts=4, num_experts_per_tok=2)
        opened = open_checkpoint(folder, into=resident)
        assert is_as_fresh(opened, folder)
        assert opened.stored is None


def test_a_rotation_that_a_long_text_has_stretched(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    folders = [save(tmp_path / str(seed), "llama", seed, rope_parameters=rope) for seed in range(2)]
    resident = Resident()
    model = open_checkpoint(folders[0], into=resident).model
    before = model.model.rotary_emb.inv_freq.clone()
    model(input_ids=tiny.token_ids(length=40))
    assert not torch.equal(model.model.rotary_emb.inv_freq, before)
    assert is_as_fresh(open_checkpoint(folders[1], into=resident), folders[1])


# damage


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def spoil(folder: Path) -> None:
    def one_value(tensors: Tensors) -> Tensors:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
        return tensors

    rewrite(folder, one_value)


def lose_one(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: t for name, t in tensors.items() if name != "model.norm.weight"})


def reshape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"][:-1]})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_short, "is cut short.*fetch it again"),
        (spoil, "tensor model.layers.1.mlp.up_proj.weight holds NaN or infinity.*fetch it again"),
        (lose_one, r"config.json and the tensors disagree \(model.norm.weight is missing\)"),
        (reshape, r"lm_head.weight has shape \(39, 16\) instead of \(40, 16\)"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read .*fetch it again"),
        (
            lambda folder: tiny.about(tiny.model(), tiny.architecture(), weights="sha256:0").write(folder),
            "not those that",
        ),
    ],
)
def test_a_damaged_one_is_refused_and_the_next_opens(pair: tuple[Path, Path], damage, says: str) -> None:
    third = Path(shutil.copytree(pair[1], pair[1].parent / "third"))
    damage(pair[1])
    resident = Resident()
    open_checkpoint(pair[0], into=resident)
    with pytest.raises(CheckpointError, match=says) as raised:
        open_checkpoint(pair[1], into=resident)
    assert str(pair[1]) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert is_as_fresh(open_checkpoint(third, into=resident), third)


def test_a_file_that_shrinks_while_it_is_read(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident()
    half_read = open_checkpoint(pair[0], into=resident).model
    whole, read, calls = (pair[1] / "model.safetensors").read_bytes(), stored.OpenFile.read_into, []

    def shrinking(self: stored.OpenFile, *args: Any) -> None:
        calls.append(args)
        if len(calls) == 5:
            (pair[1] / "model.safetensors").write_bytes(whole[:1000])
        read(self, *args)

    monkeypatch.setattr(stored.OpenFile, "read_into", shrinking)
    with pytest.raises(CheckpointError, match=r"second.*was cut short while it was read; fetch it again"):
        open_checkpoint(pair[1], into=resident)
    assert len(calls) >= 5
    monkeypatch.undo()
    (pair[1] / "model.safetensors").write_bytes(whole)
    opened = open_checkpoint(pair[1], into=resident)
    assert opened.model is not half_read
    assert is_as_fresh(opened, pair[1])


# code that a folder brings along

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
    scale = {scale}

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * self.scale
        return output
"""


def own(folder: Path, scale: float) -> Path:
    (folder / "own.py").write_text(CODE.format(scale=scale))
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    return edit_config(folder, model_type="own", auto_map=names, architectures=["OwnForCausalLM"])


def test_own_code_runs_only_when_asked(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    plain = everything(open_checkpoint(pair[1]).model)["logits"]
    for folder, scale in zip(pair, (2.0, 3.0), strict=True):
        own(folder, scale)
    resident = Resident()
    with pytest.raises(CheckpointError, match=r"names model code of its own.*then set trust_remote_code: true"):
        open_checkpoint(pair[0], into=resident)
    open_checkpoint(pair[0], trust_remote_code=True, into=resident)
    opened = open_checkpoint(pair[1], trust_remote_code=True, into=resident)
    assert torch.equal(everything(opened.model)["logits"], 3.0 * plain)


# the base of a large model


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_base_is_the_copied_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool, dtype: torch.dtype
) -> None:
    folder = save(tmp_path / "one", "llama", 1, dtype=dtype, shard="4KB", tie_word_embeddings=tied)
    opened = open_checkpoint(folder)
    copied = keep_base(opened.model, opened.stored)
    assert isinstance(copied, dict)
    noise = Noise(scaling="relative", strength=0.1, draws=2)
    drawn = [tiny.weights_of(opened.model) for _ in noisy_variants(noise, opened.model, opened.about, copied, seed=3)]
    restore(opened.model, copied)

    monkeypatch.setattr(variant, "LARGE_PARAMETERS", 0)
    base = keep_base(opened.model, opened.stored)
    assert not isinstance(base, dict)
    shutil.rmtree(folder)
    again = [tiny.weights_of(opened.model) for _ in noisy_variants(noise, opened.model, opened.about, base, seed=3)]
    assert all(tiny.same_bits(left, right) for left, right in zip(again, drawn, strict=True))
    assert not tiny.same_bits(again[0], dict(copied))
    restore(opened.model, base)
    assert tiny.same_bits(tiny.weights_of(opened.model), dict(copied))


def test_where_names_do_not_map_the_base_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "LARGE_PARAMETERS", 0)
    opened = open_checkpoint(save(tmp_path / "one", "olmoe", 1, num_experts=4, num_experts_per_tok=2))
    assert isinstance(keep_base(opened.model, opened.stored), dict)


# memory

MEASURE = """
import sys
from pathlib import Path
import torch
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.resident import Resident
from pliant.modifications.variant import keep_base, restore

def peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

warm, *folders = map(Path, sys.argv[1:])
open_checkpoint(warm)
base, resident = peak(reset=True), Resident()
for folder in folders:
    opened = open_checkpoint(folder, into=resident)
    with torch.no_grad():
        for parameter in opened.model.parameters():
            parameter.mul_(1.5)
    restore(opened.model, keep_base(opened.model, opened.stored))
print((peak() - base) / sum(4 * parameter.numel() for parameter in opened.model.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sequence_of_models_takes_the_memory_of_one(tmp_path: Path, dtype: torch.dtype) -> None:
    """About 100M parameters, 0.4 GB each: opened, changed, put back. A second model or base would make the ratio 2."""
    large = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 11, "vocab_size": 16_000}
    folders = [save(tmp_path / str(seed), "llama", seed, dtype=dtype, shard="60MB", **large) for seed in range(3)]
    command = [sys.executable, "-c", MEASURE, save(tmp_path / "warm", "llama", 0), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.3, done.stdout


# a study


def test_a_study_measures_its_checkpoints_on_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        save(
            tmp_path / "run" / f"tokens-{seed + 1}K",
            "llama",
            seed,
            vocab_size=80,
            max_position_embeddings=16,
            dtype=torch.bfloat16,
        )
    study = of_checkpoints(
        tmp_path / "run",
        tokenizer="markov",
        modifications=[
            {"noise": {"scaling": "relative", "strengths": [0.05], "draws": 2}},
            {"quantise": {"bits": [4]}},
            {"fine_tune": {"task": "skip", "learning_rates": [0.01], "steps": 4, "batch": 4}},
        ],
    )
    models = []
    load = Resident.load

    def noted(self: Resident, *args: Any, **settings: Any) -> Any:
        loaded = load(self, *args, **settings)
        models.append(loaded.model)
        return loaded

    monkeypatch.setattr(Resident, "load", noted)
    assert not run(study, tmp_path / "resident")[1]
    assert len(models) == 3
    assert models[0] is models[1] is models[2]
    monkeypatch.setattr(variant, "LARGE_PARAMETERS", 0)
    assert not run(study, tmp_path / "stored base")[1]
    monkeypatch.setattr(Resident, "load", lambda self, *args, **settings: load(Resident(), *args, **settings))
    assert not run(study, tmp_path / "each anew")[1]
    records = [record_files(tmp_path / name) for name in ("resident", "stored base", "each anew")]
    assert records[0]
    assert records[0] == records[1] == records[2]
    assert group._RESIDENT._built is None
