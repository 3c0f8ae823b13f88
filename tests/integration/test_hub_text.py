"""Text of Hub datasets: streamed by the real clients from a Hub on loopback, kept, and read again without either."""

import gzip
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from loopback_hub import LoopbackHub
from pliant.data import hub_stream
from pliant.data.corpora import corpus_source, open_corpus
from pliant.data.hub_stream import HubTextError
from pliant.data.hub_text import HubText, pinned, stored_text
from pliant.execution.engine import UserError
from pliant.studies.materials import settled_corpus

ASK = """
import json, sys
from pliant.data.hub_text import HubText, stored_text
for ask in json.load(sys.stdin):
    try:
        found = stored_text(HubText(**ask))
        answer = {"commit": found.commit, "split": found.split, "texts": list(found.texts()), "file": str(found.file)}
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""
SENTENCES = [f"Document {number} tells of the {number % 7} seas.\nIt has two lines." for number in range(120)]
CARD = """---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/train-*.json.gz
  - split: validation
    path: en/validation-*.json.gz
- config_name: fr
  data_files:
  - split: train
    path: fr/train-*.json.gz
---
"""


def plain(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "url": "u"}) + "\n" for text in texts).encode()


def zipped(texts: list[str]) -> bytes:
    return gzip.compress(plain(texts))


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=10)
    return sink.getvalue()


def c4(texts: list[str]) -> dict[str, bytes]:
    return {
        "README.md": CARD.encode(),
        "en/train-0.json.gz": zipped(["Training text.", *texts]),
        "en/validation-0.json.gz": zipped([texts[0], "  ", *texts[1:60]]),
        "en/validation-1.json.gz": zipped(texts[60:]),
        "fr/train-0.json.gz": zipped(["Un texte."]),
    }


ASKED = {
    "c4": HubText(dataset="allenai/c4", name="en", split="validation", documents=70),
    "few": HubText(dataset="allenai/c4", name="en", documents=5),
    "training": HubText(dataset="allenai/c4", name="en", split="train", documents=10_000),
    "tagged": HubText(dataset="allenai/c4", name="en", split="validation", documents=3, revision="v1"),
    "column": HubText(dataset="tiny/papers", column="abstract"),
    "by string": corpus_source("tiny/text::train"),
    "no dataset": HubText(dataset="allenai/c5"),
    "no configuration named": HubText(dataset="allenai/c4"),
    "no such configuration": HubText(dataset="allenai/c4", name="end"),
    "no such split": HubText(dataset="allenai/c4", name="en", split="test"),
    "no such column": HubText(dataset="tiny/papers"),
    "not text": HubText(dataset="tiny/papers", column="year"),
    "no such revision": HubText(dataset="allenai/c4", name="en", revision="v9"),
    "gated": HubText(dataset="closed/books"),
    "blank": HubText(dataset="tiny/blank"),
    "nothing": HubText(dataset="tiny/nothing"),
}


answered = pytest.mark.slow  # importing datasets and asking it sixteen things takes a quarter of a minute


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def answers(home: Path) -> dict[str, dict[str, object]]:
    """What one process with the real clients is answered, ask by ask."""
    with LoopbackHub() as hub:
        hub.add("allenai/c4", "main", c4([text.upper() for text in SENTENCES]), kind="datasets")
        hub.tag("allenai/c4", "v1", kind="datasets")
        hub.add("allenai/c4", "main", c4(SENTENCES), kind="datasets")
        years = list(range(len(SENTENCES)))
        hub.add("tiny/papers", "main", {"train.parquet": parquet(abstract=SENTENCES, year=years)}, kind="datasets")
        hub.add("tiny/text", "main", {"train.jsonl": plain(SENTENCES)}, kind="datasets")
        hub.add("closed/books", "main", {"train.parquet": parquet(text=SENTENCES)}, kind="datasets")
        hub.add("tiny/blank", "main", {"train.parquet": parquet(text=[" ", "\n"])}, kind="datasets")
        hub.add("tiny/nothing", "main", {"README.md": b"# Nothing"}, kind="datasets")
        hub.gated.add("closed/books")
        asked = subprocess.run(
            [sys.executable, "-c", ASK],
            input=json.dumps([asdict(source) for source in ASKED.values()]),
            env={**os.environ, **hub.environment(home)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert asked.returncode == 0, asked.stderr
    return dict(zip(ASKED, map(json.loads, asked.stdout.splitlines()), strict=True))


@pytest.fixture
def cache(home: Path, answers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process: offline (conftest.py says so), with the cache that the other one filled."""
    monkeypatch.setenv("PLIANT_CACHE", str(home / "pliant"))


@answered
def test_the_first_documents_of_the_split_in_order(answers):
    assert answers["c4"]["texts"] == SENTENCES[:70]
    assert answers["few"]["texts"] == SENTENCES[:5]
    assert answers["few"]["split"] == "validation"  # where none is named
    assert answers["training"]["texts"] == ["Training text.", *SENTENCES]
    assert answers["column"]["texts"] == SENTENCES
    assert answers["tagged"]["texts"] == [text.upper() for text in SENTENCES[:3]]
    assert answers["tagged"]["commit"] != answers["c4"]["commit"]


@answered
@pytest.mark.parametrize(
    ("ask", "complaints"),
    [
        ("no dataset", ["no dataset allenai/c5 on the Hub", "did you mean allenai/c4?"]),
        ("no configuration named", ["allenai/c4: it has the configurations en, fr", "allenai/c4:en"]),
        ("no such configuration", ["allenai/c4:end: no configuration 'end'", "did you mean en?"]),
        ("no such split", ["allenai/c4:en:test: no split 'test'; it has train, validation"]),
        ("no such column", ["columns ['abstract', 'year'], expected a string column \"text\"", "{dataset: ..."]),
        ("not text", ['tiny/papers, row 1: "year" is a int']),
        ("no such revision", ["no revision 'v9'"]),
        ("gated", ["a gated dataset", "hf auth login", "datasets/closed/books"]),
        ("blank", ["no text in this split"]),
        ("nothing", ["tiny/nothing"]),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(answers, ask, complaints):
    message = answers[ask]["error"]
    assert "\n" not in message
    for complaint in complaints:
        assert complaint in message


@answered
def test_a_failed_ask_leaves_nothing_behind(answers, home):
    texts = [path.name for path in (home / "pliant" / "hub" / "texts").iterdir()]
    kept = {Path(str(answer["file"])).name for answer in answers.values() if "file" in answer}
    assert set(texts) == kept


@answered
def test_a_second_run_needs_neither_network_nor_datasets(answers, cache, monkeypatch):
    monkeypatch.setattr(hub_stream, "stream_text", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    again = stored_text(ASKED["c4"])
    assert (again.commit, list(again.texts())) == (answers["c4"]["commit"], SENTENCES[:70])
    assert stored_text(pinned(ASKED["c4"])) == again
    first, second = open_corpus("tiny/text::train"), open_corpus("tiny/text::train")
    assert first.fingerprint == second.fingerprint


@answered
def test_documents_of_a_held_out_split_are_all_held_out(cache):
    corpus = open_corpus(ASKED["c4"])
    by_split = {split: [d.text for d in corpus.documents(split)] for split in ("train", "validation", "test")}
    assert by_split["train"] == []
    assert sorted(by_split["validation"] + by_split["test"]) == sorted(SENTENCES[:70])
    assert 20 < len(by_split["test"]) < 50
    training = open_corpus(ASKED["training"])
    shares = [sum(1 for _ in training.documents(split)) for split in ("train", "validation", "test")]
    assert sum(shares) == 121
    assert shares[0] > 100


@answered
def test_other_text_is_another_corpus(cache):
    found = {open_corpus(ASKED[name]).fingerprint for name in ("c4", "few", "training", "tagged", "column")}
    assert len(found) == 5


@answered
def test_a_study_keeps_the_commit_it_began_with(answers, cache):
    begun = settled_corpus(ASKED["c4"], None)
    assert isinstance(begun, HubText)
    assert begun.revision == answers["c4"]["commit"]
    assert settled_corpus(ASKED["c4"], begun) == begun
    other = settled_corpus(ASKED["few"], begun)
    assert isinstance(other, HubText)
    assert other.documents == 5
    assert settled_corpus("english", begun) == "english"
    assert settled_corpus("markov:3", begun) == "markov:3"
    with pytest.raises(UserError, match="no corpus or path"):
        settled_corpus("nowhere.txt", None)


def test_not_kept_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path))
    with pytest.raises(HubTextError, match="the Hub cannot be reached, and the text is not in pliant's cache") as it:
        stored_text(HubText(dataset="allenai/c4", name="en"))
    assert "\n" not in str(it.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port that discards: nobody listens
    with pytest.raises(HubTextError, match="the Hub cannot be reached") as it:
        stored_text(HubText(dataset="allenai/c4", name="en"))
    assert "\n" not in str(it.value)


def test_without_the_package_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_stream.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HubTextError, match=r'needs the package datasets; pip install "pliant\[hub\]"'):
        stored_text(HubText(dataset="allenai/c4", name="en"))


def test_names_of_hub_datasets(tmp_path, monkeypatch):
    assert corpus_source("allenai/c4") == HubText(dataset="allenai/c4")
    assert corpus_source("allenai/c4:en") == HubText(dataset="allenai/c4", name="en")
    assert corpus_source("allenai/c4:en:validation") == HubText(dataset="allenai/c4", name="en", split="validation")
    assert corpus_source("tiny/papers::train") == HubText(dataset="tiny/papers", split="train")
    assert str(HubText(dataset="tiny/papers", split="train")) == "tiny/papers::train"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "allenai").mkdir()
    (tmp_path / "allenai" / "c4").mkdir()
    assert str(corpus_source("allenai/c4")) == "allenai/c4"
    assert not isinstance(corpus_source("allenai/c4"), HubText)
    with pytest.raises(ValueError, match="documents is 0, expected at least 1"):
        HubText(dataset="allenai/c4", documents=0)
