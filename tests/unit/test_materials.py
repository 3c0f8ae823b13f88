"""What a study opens: training text only when something trains, held-out rows as earlier records had them."""

import hashlib
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import theirs
from pliant.data.tasks import IGNORED
from pliant.data.text_files import TextFiles
from pliant.execution.engine import UserError
from pliant.studies.materials import Materials, MaterialSpec, open_materials
from tiny_studies import of_checkpoints, plan, run, tiny

CONTEXT = 16


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    open_materials.cache_clear()
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def text(tmp_path: Path) -> str:
    rows = [{"content": f"Document {number} tells of the {number % 7} seas, and of wind."} for number in range(1500)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "text.jsonl")


@pytest.fixture
def gemma(tmp_path: Path) -> str:
    """Bytes, and <bos> before every text, as the family writes it."""
    vocabulary = {symbol: index for index, symbol in enumerate(["<bos>", "<eos>", *sorted(ByteLevel.alphabet())])}
    backend = Backend(BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    backend.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    folder = tmp_path / "gemma"
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>").save_pretrained(folder)
    return str(folder)


def opened(corpus: str | TextFiles, tokenizer: str = "bytes", **changes: object) -> Materials:
    settings = {
        "context": CONTEXT,
        "held_out_split": "test",
        "held_out_tokens": 1024,
        "task_rows": 8,
        "tasks": (),
    } | changes
    return open_materials(MaterialSpec(corpus=corpus, tokenizer=tokenizer, **settings))  # type: ignore[arg-type]


def packed(cache: Path) -> set[str]:
    return {json.loads(file.read_text())["split"] for file in (cache / "streams").glob("*/stream.json")}


@pytest.mark.parametrize(
    ("corpus", "tokenizer", "fingerprint", "rows"),
    [
        ("english", "bytes", "a369ef8293a49e66a36590c26622a76839077f89a8976c63afdb01f79f7eef8b", "e9ab960bc5cbdac8"),
        ("markov:3", "markov", "a50743d8721150d4b7dffc4a205e7f1b1d7e3fb35abc3f028ad8454ff7d9ef9d", "b65a74a8043e2f35"),
    ],
)
def test_held_out_rows_are_what_earlier_records_were_measured_on(corpus, tokenizer, fingerprint, rows):
    found = opened(corpus, tokenizer, context=64, held_out_tokens=4096)
    assert found.held_out_fingerprint == f"sha256:{fingerprint}"
    content = found.held_out.inputs.tobytes() + found.held_out.targets.tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == rows


def test_training_text_is_packed_when_something_trains(text, cache):
    found = opened(TextFiles(path=text, column="content"))
    assert packed(cache) == {"test"}
    source = found.training.source(1)
    assert packed(cache) == {"test", "train"}
    assert source.windows_per_epoch > 3000
    assert source.fingerprint == found.training.source(2).fingerprint


def test_windows_of_models_from_outside_begin_as_their_tokenizer_does(text, gemma):
    corpus = TextFiles(path=text, column="content")
    ours, outside = opened(corpus, gemma), opened(corpus, gemma, outside=True)
    assert (outside.held_out.inputs[:, 0] == 0).all()
    assert not (ours.held_out.inputs == 0).any()
    assert (outside.held_out.targets == ours.held_out.targets).all()
    assert outside.held_out_fingerprint != ours.held_out_fingerprint
    assert opened(corpus, outside=True).held_out_fingerprint == opened(corpus).held_out_fingerprint
    by_documents = opened(corpus, gemma, outside=True, held_out_bytes=1500)
    assert (by_documents.held_out.inputs[:, 0] == 0).all()
    assert (by_documents.held_out.targets != IGNORED).sum() == 1500


def test_generated_text_has_no_documents():
    with pytest.raises(UserError, match=r"held_out\.by: documents has no effect on markov:3"):
        opened("markov:3", "markov", held_out_bytes=9000)


def test_outside_is_what_pliant_did_not_train(tmp_path):
    theirs.save_checkpoint(tmp_path / "theirs" / "a", tokens=100)
    ours = plan(tiny(), tmp_path / "ours")
    others = plan(of_checkpoints(tmp_path / "theirs"), tmp_path / "study")
    assert {group.materials.outside for group in ours.groups} == {False}
    assert {group.materials.outside for group in others.groups} == {True}


def test_a_study_by_documents(tmp_path):
    theirs.save_checkpoint(tmp_path / "theirs" / "a", tokens=100, vocabulary_size=256)
    held_out = {"by": "documents", "bytes": 20_000, "context": 16}
    spec = of_checkpoints(tmp_path / "theirs", corpus="english", tokenizer="bytes", held_out=held_out)
    table, failures, _ = run(spec, tmp_path / "study")
    assert failures == []
    (row,) = [row for row in table.rows if row["evaluation"] == "pretraining-loss"]
    assert row["bytes_per_token"] == 1.0
    assert sum(row["count"]) == 20_000
    assert row["value"] == pytest.approx(sum(row["blocks"]) / 20_000, rel=1e-12)
    assert all(2048 <= count < 2048 + 4096 for count in row["count"][:-1])
    again, failures, started = run(spec, tmp_path / "study")
    assert (started, again.rows) == ([], table.rows)
