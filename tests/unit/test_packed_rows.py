"""Packed rows: a segment has the logits it has alone, whatever the class and its attention."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import tiny
from pliant.data.tasks import EncodedSplit, EncodedTask
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.ground import Ground
from pliant.modifications.sweep import sweeps_pay
from pliant.modifications.variant import keep_base
from pliant.records.numerics import Numerics
from pliant.training.decoder import keeps_segments_apart, lean_logits, packed_positions, transformers_logits
from pliant.training.task_batches import mean_loss

COMMON = {"vocab_size": tiny.VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24} | COMMON
GPT2_SHAPE = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32} | COMMON
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": tiny.model,
    "olmo2": lambda: tiny.model(family="olmo2"),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, num_key_value_heads=1)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE)),
    "sliding": lambda: MistralForCausalLM(MistralConfig(**SHAPE, num_key_value_heads=1, sliding_window=3)),
}
LENGTHS = (5, 1, 4, 2)
SEGMENTS = torch.tensor([[number for number, length in enumerate(LENGTHS) for _ in range(length)]] * 2)


def build(family: str, attention: str = "sdpa") -> Any:
    """Weights far larger than at initialisation, so that a token too many is seen."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    model.set_attn_implementation(attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_segment_has_the_logits_that_it_has_alone(family: str, attention: str) -> None:
    model, inputs = build(family, attention), tiny.token_ids(2, sum(LENGTHS))
    with torch.no_grad():
        packed = transformers_logits(model, inputs, SEGMENTS)
        alone = [transformers_logits(model, part) for part in inputs.split(LENGTHS, dim=1)]
        unpacked = transformers_logits(model, inputs)
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=0, atol=1e-5)
    assert float((packed - unpacked)[:, LENGTHS[0] :].abs().max()) > 1e-2
    assert keeps_segments_apart(model, inputs[:1])


def test_the_lean_pass_leaves_packed_rows_to_transformers() -> None:
    model, inputs = build("llama"), tiny.token_ids(2, sum(LENGTHS))
    assert torch.equal(lean_logits(model, inputs, SEGMENTS), transformers_logits(model, inputs, SEGMENTS))


def test_positions_begin_again_with_each_run_of_a_number() -> None:
    found = packed_positions(torch.tensor([[0, 0, 0, 1, 2, 2], [4, 4, 1, 1, 1, 4]]))
    assert found.tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 0, 1, 2, 0]]


def packed_task(packed: bool = True) -> EncodedTask:
    """Rows of two examples of six tokens, packed or one a row; the same examples in the same batches."""
    whole = tiny.split(8)
    segments = np.repeat(np.tile([0, 1], (8, 1)), 6, axis=1)
    targets = np.where(np.arange(12) % 6 == 5, -100, whole.targets)
    split = EncodedSplit(inputs=whole.inputs, targets=targets, segments=segments)
    if not packed:
        split = EncodedSplit(inputs=whole.inputs.reshape(16, 6), targets=targets.reshape(16, 6))
    return EncodedTask(name="t", fingerprint="f", splits={"train": split}, label_tokens=(), truncated=0)


def tuned(model: Any, task: EncodedTask, rows: int) -> dict[str, torch.Tensor]:
    ground = Ground(task=task, base=keep_base(model), text=lambda seed: tiny.stream(), forward=lean_logits)
    settings = FineTune(task="t", strength=0.01, steps=3, batch=rows)
    (variant,) = finetuned_variant(settings, model, ground, 0)
    assert not variant.diverged
    return tiny.weights_of(model)


def test_packed_examples_teach_what_they_teach_one_a_row() -> None:
    found, expected = tuned(tiny.model(), packed_task(), 8), tuned(tiny.model(), packed_task(packed=False), 16)
    leaking = dataclasses.replace(packed_task().splits["train"], segments=None)
    leaked = tuned(tiny.model(), dataclasses.replace(packed_task(), splits={"train": leaking}), 8)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert max(float((leaked[name] - tensor).abs().max()) for name, tensor in expected.items()) > 1e-3


def test_the_loss_of_packed_rows_is_that_of_their_examples() -> None:
    model = build("llama")
    losses = [mean_loss(model, packed_task(packed).splits["train"], lean_logits, 3) for packed in (True, False)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_packed_rows_are_not_trained_side_by_side() -> None:
    settings, model = FineTune(task="t", strength=0.01, batch=4), tiny.model()
    assert sweeps_pay(settings, model, packed_task(packed=False), Numerics())
    assert not sweeps_pay(settings, model, packed_task(), Numerics())


def bloom() -> Any:
    return BloomForCausalLM(BloomConfig(**COMMON, hidden_size=16, n_layer=1, n_head=2))


def recurrent() -> Any:
    shape = SHAPE | {"num_hidden_layers": 1, "num_key_value_heads": 1}
    mamba = {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}
    return FalconH1ForCausalLM(FalconH1Config(**shape, **mamba))


@pytest.mark.parametrize(("make", "name"), [(bloom, "BloomForCausalLM"), (recurrent, "FalconH1ForCausalLM")])
def test_a_class_that_cannot_keep_segments_apart_is_refused(make: Callable[[], Any], name: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=rf"^{name} does not keep examples apart .* set pack: false for the task t$"):
        tuned(make().eval(), packed_task(), 8)
