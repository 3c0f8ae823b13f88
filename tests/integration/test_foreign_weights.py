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
from pliant.data.corpora import open_corpus
from pliant.data.tasks import EncodedSplit
from pliant.data.tokenizers import open_tokenizer
from pliant.evaluation.losses import loss_measurement
from pliant.training.decoder import transformers_logits

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
