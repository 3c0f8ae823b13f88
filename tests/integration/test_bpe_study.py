"""The user's own text and tokenizer: a BPE study from a text file to weights that transformers opens."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from pliant.data.corpora import open_corpus
from pliant.data.windows import ShuffledStream
from pliant.execution.table import Table
from pliant.studies.study_file import read_study
from tiny_studies import content, run

VOCABULARY = 400


def prose(words: int) -> str:
    """Sentences of made-up words, some frequent and some rare, in paragraphs."""
    chance = random.Random(7)
    syllables = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "ou", "é")]
    lexicon = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(300)]
    weights = [1 / rank for rank in range(1, 301)]
    drawn = chance.choices(lexicon, weights, k=words)
    sentences = [" ".join(drawn[at : at + 9]).capitalize() + "." for at in range(0, words, 9)]
    return "\n\n".join(" ".join(sentences[at : at + 12]) for at in range(0, len(sentences), 12))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """text.txt, tok/ and study.yaml, which names both by relative paths."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(prose(110_000), encoding="utf-8")
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train([str(folder / "text.txt")], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(folder / "tok")
    study = content(
        {
            "corpus": "text.txt",
            "tokenizer": "tok",
            "held_out.tokens": 2048,
            "trajectories.0.ladder.architecture.context": 32,
            "modifications.1": {
                "fine_tune": {"task": "arithmetic", "learning_rates": [0.01], "steps": 2, "batch": 4},
            },
        }
    )
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def table(home: Path) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLIANT_CACHE", str(home / "cache"))
        found, failures, _ = run(read_study(home / "study.yaml"), home / "study")
    assert (found.missing, failures, found.failed) == (0, [], ())
    return found


def member(home: Path) -> Path:
    (folder,) = (home / "study" / "artifacts").glob("main-*/seed-1/tokens-1024")
    return folder


def test_bytes_per_token_are_those_of_the_scored_tokens(home: Path, table: Table):
    backend = Tokenizer.from_file(str(home / "tok" / "tokenizer.json"))
    sizes: list[int] = []  # of the whole stream, from the character offsets of its tokens; a separator stands for none
    for document in open_corpus(home / "text.txt").documents("test"):
        offsets = backend.encode(document.text, add_special_tokens=False).offsets
        own = [len(document.text[start:stop].encode()) for start, stop in offsets]
        assert sum(own) == len(document.text.encode())
        sizes += [*own, 0]
    rows = ShuffledStream(tokens=np.array(sizes), fingerprint="", context=32, seed=20_250_319).windows(0, 2048 // 32)
    (found,) = {row["bytes_per_token"] for row in table.rows}
    assert found == pytest.approx(rows[:, 1:].mean(), rel=1e-12)
    assert found > 1.5


def test_losses_begin_near_those_of_a_uniform_guess(table: Table):
    base = [r["value"] for r in table.rows if r["modification"] == "none" and r["evaluation"] == "pretraining-loss"]
    assert len(base) == 2
    assert all(0.5 * np.log(VOCABULARY) < loss < 1.5 * np.log(VOCABULARY) for loss in base)


def test_a_member_opens_in_transformers_with_its_tokenizer(home: Path, table: Table):
    model = AutoModelForCausalLM.from_pretrained(member(home), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(member(home))
    text = "Boula sé moré."
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == text
    assert model(ids).logits.shape == (1, ids.shape[1], VOCABULARY)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == VOCABULARY


def test_pliant_json_tells_what_was_trained(home: Path, table: Table):
    about = json.loads((member(home) / "pliant.json").read_text())
    assert about["tokens"] == 1024
    assert about["annealed"] is True
    assert about["bytes_per_token"] == table.rows[0]["bytes_per_token"]
    assert 0 < about["epochs"] < 1


def test_fine_tuning_on_an_embedded_task_works_in_that_tokenizer(table: Table):
    rows = [row for row in table.rows if row["modification"] == "fine-tune" and row["evaluation"] == "task-loss"]
    assert {row["split"] for row in rows} == {"validation", "test"}
    assert all(np.isfinite(row["value"]) for row in rows)
