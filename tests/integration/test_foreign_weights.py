"""Real weights that are not ours: opened, resident, and as good at English as their own library says."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glass import save_as_llama
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.resident import Resident
from pliant.checkpoints.weights import canonical_tensors
from pliant.data.corpora import open_corpus
from pliant.data.tasks import EncodedSplit, EncodedTask
from pliant.data.tokenizers import open_tokenizer
from pliant.evaluation.losses import loss_measurement
from pliant.modifications.adapters import LowRank
from pliant.modifications.finetune import FineTune, Ground, finetuned_variant
from pliant.modifications.variant import keep_base, restore
from pliant.training.decoder import choose_forward, transformers_logits

glassllm = pytest.importorskip("glassllm", reason="glassllm is not installed; it comes with the extra dev")
LANGUAGES = ("en", "pt")
CONTEXT = 127


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    return {language: glassllm.load_pretrained(language) for language in LANGUAGES}


@pytest.fixture(scope="module")
def folders(theirs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("glass")
    return {language: save_as_llama(*theirs[language], root / language) for language in LANGUAGES}


def english(characters: int) -> str:
    return next(document.text for document in open_corpus("english").documents("test"))[:characters]


def test_tokens_are_those_of_the_library(theirs: dict[str, Any], folders: dict[str, Path]) -> None:
    text = english(20_000)
    (ours,) = open_tokenizer(str(folders["en"])).encode([text])
    assert ours.tolist() == theirs["en"][1].encode(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_logits_are_those_of_the_library(theirs: dict[str, Any], folders: dict[str, Path], language: str) -> None:
    model, tokenizer = theirs[language]
    ids = np.array(tokenizer.encode(english(2000))[:CONTEXT])
    with torch.no_grad():
        ours = open_checkpoint(folders[language]).model(input_ids=torch.from_numpy(ids)[None]).logits
    np.testing.assert_allclose(ours.numpy(), model.forward(ids).data, atol=2e-4)


def test_english_is_far_from_uniform_and_farther_by_the_english_model(folders: dict[str, Path]) -> None:
    """Both are read into one model; in bits per byte their tokenizers do not matter."""
    resident, text, bits = Resident(), english(20_000), {}
    for language in LANGUAGES:
        (ids,) = open_tokenizer(str(folders[language])).encode([text])
        windows = ids[: len(ids) // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1)
        loss_nats = loss_measurement(
            open_checkpoint(folders[language], into=resident).model,
            EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:]),
            forward=transformers_logits,
            name="test",
            batch_tokens=2048,
            draw=None,
            sign=None,
        ).value
        bits[language] = loss_nats / math.log(2) * len(ids) / len(text.encode())
        if language == "en":
            assert loss_nats < 0.85 * math.log(1024)
    assert bits["en"] < bits["pt"] - 1


@pytest.mark.slow
@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_teaches_them_and_leaves_them_as_they_were(folders: dict[str, Path], dora: bool) -> None:
    """The English model learns English with every letter moved on by one."""
    checkpoint = open_checkpoint(folders["en"])
    model, base = checkpoint.model, keep_base(checkpoint.model)
    shifted = "".join(chr(ord(letter) + 1) if letter.isalpha() else letter for letter in english(40_000))
    (ids,) = open_tokenizer(str(folders["en"])).encode([shifted])
    windows = ids[: len(ids) // 65 * 65].reshape(-1, 65)
    rows = EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:])
    task = EncodedTask(name="shifted", fingerprint="", splits={"train": rows}, label_tokens=(), truncated=0)
    ground = Ground(task=task, base=base, text=lambda seed: pytest.fail("no text is read"), forward=transformers_logits)
    settings = FineTune(task="shifted", strength=5e-3, steps=12, batch=8, adapter=LowRank(dora=dora))

    def loss() -> float:
        return loss_measurement(
            model, rows, forward=choose_forward(model, "lean"), name="train", batch_tokens=2048, draw=None, sign=None
        ).value

    before = loss()
    (variant,) = finetuned_variant(settings, model, ground, seed=0)
    assert not variant.diverged
    assert variant.losses[-1] < variant.losses[0] - 0.3
    assert loss() < before - 0.3  # merged: what is measured is what was trained
    changed = {name for name, tensor in canonical_tensors(model).items() if not torch.equal(tensor, base[name])}
    assert changed == {name for name in base if "proj" in name}
    restore(model, base)
    assert all(torch.equal(tensor, base[name]) for name, tensor in canonical_tensors(model).items())
    assert loss() == before
