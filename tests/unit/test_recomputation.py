"""Gradient checkpointing changes memory alone; a precision or a class that is not there is refused in a line."""

from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import GPT2Config, GPT2LMHeadModel

import tiny
from pliant.modifications.finetune import FineTune, Ground, finetuned_variant
from pliant.modifications.variant import Variant, keep_base
from pliant.records.identity import identity
from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import transformers_logits
from pliant.training.precision import in_precision
from pliant.training.recomputation import recomputed


def tuned(model: Any, **changes: Any) -> Variant:
    settings = FineTune(**{"task": "random", "strength": 0.01, "steps": 4, "batch": 4, **changes})
    ground = Ground(
        task=tiny.task(), base=keep_base(model), text=lambda seed: tiny.stream(), forward=transformers_logits
    )
    (variant,) = finetuned_variant(settings, model, ground, 0)
    return variant


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3}, {"precision": "bfloat16"}], ids=str)
@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_the_bits_are_the_same(family: str, changes: dict[str, Any]) -> None:
    kept, again = tiny.model(family=family), tiny.model(family=family)
    tuned(kept, **changes)
    assert not tuned(again, **changes, gradient_checkpointing=True).diverged
    assert tiny.same_bits(tiny.weights_of(kept), tiny.weights_of(again))
    assert not again.is_activation_checkpointing


def test_the_bits_are_the_same_with_dropout() -> None:
    found = []
    for wanted in (False, True):
        shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": tiny.VOCABULARY, "n_positions": 16}
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0, resid_pdrop=0.5))
        tuned(model, gradient_checkpointing=wanted)
        found.append(tiny.weights_of(model))
    assert tiny.same_bits(*found)


def saved(model: Any, wanted: bool) -> int:
    """Numbers that a forward pass keeps for the backward pass, the weights apart."""
    weights, sizes = {p.data_ptr() for p in model.parameters()}, []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            sizes.append(tensor.numel())
        return tensor

    model.train()
    inputs = tiny.token_ids(4, 12)
    with recomputed(model, wanted), saved_tensors_hooks(keep, lambda tensor: tensor):
        mean_cross_entropy(transformers_logits(model, inputs), inputs).backward()
    return sum(sizes)


def test_fewer_activations_are_kept() -> None:
    model = tiny.model(layers=6)
    kept = saved(model, wanted=False)
    assert saved(model, wanted=True) < kept / 2
    assert saved(model, wanted=False) == kept  # the model is put back


def test_the_model_is_put_back_after_an_error_too() -> None:
    model = tiny.model()

    def fail() -> None:
        with recomputed(model, wanted=True):
            assert model.is_activation_checkpointing
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not model.is_activation_checkpointing


def test_a_class_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(
        ValueError, match=r"^LlamaForCausalLM has no gradient checkpointing; leave gradient_checkpointi"
    ):
        tuned(model, gradient_checkpointing=True)


def test_a_precision_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(ValueError, match=r"^precision: bfloat16 is not supported by Tesla T4; leave precision out$"):
        in_precision(transformers_logits, "bfloat16", torch.device("cuda"))


def test_what_changes_bits_is_identity_and_memory_alone_is_not() -> None:
    plain = {"task": "t", "strength": 0.1}
    known = identity(FineTune(**plain))
    assert identity(FineTune(**plain, gradient_checkpointing=True)) == known
    changes: list[dict[str, Any]] = [{"precision": "bfloat16"}, {"micro_batch": 4}]
    for change in changes:
        assert identity(FineTune(**plain, **change)) == known | change
    assert not known.keys() & {"precision", "micro_batch", "stop_early", "epochs", "gradient_checkpointing"}
