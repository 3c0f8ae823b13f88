"""LoRA and DoRA: merged by the formula, the model handed back as it was, the same bits for the same seed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from pliant.modifications.adapters import AdapterError, LowRank, adapted, targeted
from pliant.modifications.variant import keep_base, restore

IDS = tiny.token_ids(rows=3)


WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def of_class(kind: str) -> Any:
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        MixtralConfig,
        MixtralForCausalLM,
    )

    if kind in ("llama", "olmo2"):
        return tiny.model(family=kind).eval()
    torch.manual_seed(0)
    if kind == "gpt2":
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=12, **ends)).eval()
    if kind == "neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=40, max_position_embeddings=12, **WIDE)).eval()
    experts = {"num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 2}
    return MixtralForCausalLM(MixtralConfig(vocab_size=40, max_position_embeddings=12, **WIDE, **experts)).eval()


CLASSES = ("llama", "olmo2", "gpt2", "neox", "mixtral")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def adapter_layers(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A"))


def disturb(model: Any) -> None:
    """Adapter weights as training might leave them: none zero, none equal."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def state(model: Any) -> dict[str, Any]:
    """Everything that an adapter may touch but the values of the weights."""
    return {
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "tensors": [
            (name, id(parameter), parameter.data_ptr(), parameter.requires_grad, parameter.grad is None)
            for name, parameter in model.named_parameters()
        ],
        "attributes": sorted(vars(model)),
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
    }


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", CLASSES)
def test_merged_logits_are_those_of_the_adapter(kind: str, dora: bool) -> None:
    model = of_class(kind)
    base = logits(model)
    with adapted(model, LowRank(rank=3, dora=dora), 0):
        torch.testing.assert_close(logits(model), base, rtol=0, atol=1e-6)  # a fresh adapter is none
        disturb(model)
        inside = logits(model)
    torch.testing.assert_close(logits(model), inside, rtol=0, atol=1e-5)
    assert (inside - base).abs().max() > 0.01


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_merged_weights_are_the_formula(kind: str, dora: bool) -> None:
    """W' = W + (alpha / rank) B A; with DoRA its rows are scaled to the trained norms. In NumPy, fp64."""
    model = of_class(kind)
    before, expected = tiny.weights_of(model), {}
    with adapted(model, LowRank(rank=4, alpha=6.0, dora=dora), 0):
        disturb(model)
        for name, layer in adapter_layers(model):
            trained = {part: t.detach().double().numpy() for part, t in layer.named_parameters() if "lora" in part}
            (down,), (up,) = ([t for part, t in trained.items() if f"lora_{side}" in part] for side in "AB")
            weight = before[f"{name}.weight"].double().numpy()
            weight = (weight.T if kind == "gpt2" else weight) + 6.0 / 4 * up @ down
            for part, magnitude in trained.items():
                if "magnitude" in part:
                    weight *= (magnitude / np.linalg.norm(weight, axis=1))[:, None]
            assert len(trained) == 2 + dora
            expected[f"{name}.weight"] = weight.T if kind == "gpt2" else weight
    assert len(expected) == {"llama": 14, "gpt2": 8}[kind]
    for name, now in tiny.weights_of(model).items():
        if name in expected:
            np.testing.assert_allclose(now.numpy(), expected[name], rtol=0, atol=1e-6, err_msg=name)
            assert not torch.equal(now, before[name])
        else:  # embeddings, norms, biases and head
            assert torch.equal(now, before[name]), name


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", CLASSES)
def test_the_model_comes_back_as_it_was(kind: str, dora: bool) -> None:
    model = of_class(kind)
    before, kept, base = state(model), tiny.weights_of(model), keep_base(model)
    with adapted(model, LowRank(rank=2, dora=dora), 0):
        disturb(model)
        model.train()
    assert state(model) == before
    assert not tiny.same_bits(tiny.weights_of(model), kept)
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), kept)


def train_until(problem: type[BaseException], model: Any) -> None:
    with adapted(model, LowRank(dora=True), 0):
        disturb(model)
        model.train()
        raise problem


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
def test_after_an_error_the_base_is_there_without_an_adapter(problem: type[BaseException]) -> None:
    model = tiny.model().eval()
    before, kept = state(model), tiny.weights_of(model)
    with pytest.raises(problem):
        train_until(problem, model)
    assert state(model) == before
    assert tiny.same_bits(tiny.weights_of(model), kept)


def test_an_error_in_peft_itself_leaves_no_half_of_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.lora import LoraModel

    made, replace = [], LoraModel._replace_module

    def fail_at_the_third(self: Any, *given: Any) -> None:
        made.append(given)
        if len(made) == 3:
            raise KeyboardInterrupt
        replace(self, *given)

    monkeypatch.setattr(LoraModel, "_replace_module", fail_at_the_third)
    model = tiny.model().eval()
    before, kept = state(model), tiny.weights_of(model)
    with pytest.raises(KeyboardInterrupt), adapted(model, LowRank(), 0):
        pass
    assert len(made) == 3
    assert state(model) == before
    assert tiny.same_bits(tiny.weights_of(model), kept)


def first_weights(model: Any, seed: int, **settings: Any) -> dict[str, torch.Tensor]:
    with adapted(model, LowRank(**settings), seed):
        return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def test_it_begins_by_the_seed_alone_and_leaves_the_global_generator() -> None:
    model, another = tiny.model(), tiny.model(seed=9)  # two checkpoints of one shape
    torch.manual_seed(1)
    first = first_weights(model, 3)
    torch.manual_seed(2)
    generator = torch.get_rng_state()
    again = first_weights(another, 3)
    assert torch.equal(torch.get_rng_state(), generator)
    assert tiny.same_bits(first, again)
    other = first_weights(tiny.model(), 4)
    downs = [name for name in first if "lora_A" in name]
    assert len(downs) == 14
    assert not any(torch.equal(first[name], other[name]) for name in downs)
    assert all(torch.count_nonzero(first[name]) == 0 for name in first if "lora_B" in name)


def test_a_begins_uniform_on_one_over_the_root_of_the_inputs() -> None:
    weights = first_weights(tiny.model(width=64, heads=4, feed_forward=256), 0, rank=32)
    for name, tensor in weights.items():
        if "lora_A" in name:
            bound = tensor.shape[1] ** -0.5
            assert tensor.abs().max() <= bound
            assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
            assert tensor.mean().abs().item() < 0.05 * bound


@pytest.mark.parametrize(("dora", "rows"), [(False, 0), (True, 2 * (4 * 16 + 2 * 24 + 16))])
def test_the_trained_parameters_are_counted(dora: bool, rows: int) -> None:
    model = tiny.model()  # 2 blocks of 4 matrices 16 x 16, 2 of 24 x 16, one 16 x 24
    with adapted(model, LowRank(rank=3, dora=dora), 0) as parameters:
        assert sum(map(torch.numel, parameters)) == 2 * 3 * (4 * (16 + 16) + 3 * (24 + 16)) + rows
        assert all("lora" in name for name, p in model.named_parameters() if p.requires_grad)


def test_targets_are_those_named() -> None:
    model = tiny.model()
    chosen = list(targeted(model, LowRank(targets=("q_proj", "mlp.up_proj"))))
    assert chosen == [f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.q_proj", "mlp.up_proj")]
    kept = tiny.weights_of(model)
    with adapted(model, LowRank(targets=("q_proj",)), 0):
        disturb(model)
    changed = {name for name, now in tiny.weights_of(model).items() if not torch.equal(now, kept[name])}
    assert changed == {f"model.layers.{i}.self_attn.q_proj.weight" for i in (0, 1)}
    assert list(targeted(model, LowRank(targets=("layers.1.self_attn.k_proj",)))) == ["model.layers.1.self_attn.k_proj"]


@pytest.mark.parametrize("kind", CLASSES)
def test_all_linear_layers_of_the_blocks_by_default(kind: str) -> None:
    """Of Mixtral's those of the attention: its router and its experts are no linear layers."""
    model = of_class(kind)
    matrices = {
        name.removesuffix(".weight")
        for name, tensor in model.named_parameters()
        if (".layers." in name or ".h." in name) and tensor.ndim == 2 and "mlp.gate.weight" not in name
    }
    assert set(targeted(model, LowRank())) == matrices


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("gpt2", {"targets": ("c_attn", "q_proj")},
         "GPT2LMHeadModel has no linear layer q_proj in its blocks; targets can be c_attn, c_proj, c_fc"),
        ("llama", {"targets": ("lm_head",)},
         "LlamaForCausalLM has no linear layer lm_head in its blocks; targets can be q_proj, k_proj, v_proj, o_proj, "
         "gate_proj, up_proj, down_proj"),
        ("llama", {"targets": ("proj",)}, "no linear layer proj in its blocks"),
        ("llama", {"rank": 17}, "rank 17 is too large for model.layers.0.self_attn.q_proj of 16 x 16; give 16 or less"),
    ],
)  # fmt: skip
def test_what_the_class_does_not_have_is_said(kind: str, settings: dict[str, Any], says: str) -> None:
    model = of_class(kind)
    before = state(model)
    with pytest.raises(AdapterError, match=says), adapted(model, LowRank(**settings), 0):
        pass
    assert state(model) == before


def test_a_class_without_linear_layers_is_refused() -> None:
    model = tiny.model()
    model.model.layers = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    with pytest.raises(AdapterError, match="LlamaForCausalLM has no decoder blocks with linear layers for DoRA"):
        targeted(model, LowRank(dora=True))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"alpha": 0.0}, "alpha must be a finite number above 0, got 0.0"),
        ({"alpha": float("inf")}, "alpha must be a finite number above 0, got inf"),
        ({"targets": ()}, "targets names linear layers, each once; leave it out for all of the blocks, got none"),
        ({"targets": ("q_proj", "q_proj")}, "each once"),
    ],
)
def test_refused_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LowRank(**settings)


def test_labels_tell_settings_apart() -> None:
    given = [{}, {"dora": True}, {"rank": 4}, {"alpha": 8.0}, {"targets": ("q_proj", "v_proj")}]
    assert [LowRank(**one).label for one in given] == [
        "LoRA rank 8", "DoRA rank 8", "LoRA rank 4", "LoRA rank 8, alpha 8", "LoRA rank 8, on q_proj, v_proj",
    ]  # fmt: skip
