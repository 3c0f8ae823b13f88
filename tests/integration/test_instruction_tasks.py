"""Instruction data of the shapes of Anthropic-HH and TULU, from files and from a Hub on loopback, through studies."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import pliant
from instruction_files import conversations, jsonl, parquet, talks
from loopback_hub import LoopbackHub
from pliant.data.open_task import encode_task
from pliant.data.task_rows import task_samples
from pliant.data.task_setting import TaskDataset, TaskFiles, task_source
from pliant.data.tokenizers import open_tokenizer
from pliant.execution.store import Store
from pliant.studies.materials import open_materials, settled_task
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study, read_study, to_yaml


def study(folder: Path, task: object, **changes: object) -> Path:
    """A study of one tiny ladder with 64 tokens of context, written with its text beside the data."""
    (folder / "text.jsonl").write_bytes(
        jsonl([{"text": f"Document {n} tells of the {n % 7} seas, and of wind."} for n in range(1200)])
    )
    shape = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "context": 64}
    schedule = {"kind": "wsd", "warmup_steps": 2, "decay_fraction": 0.25}
    recipe = {"learning_rate": 0.01, "batch_windows": 4, "schedule": schedule}
    content = {
        "study": "instructions",
        "corpus": {"path": "text.jsonl"},
        "held_out": {"tokens": 512, "task_rows": 8},
        "trajectories": [
            {"name": "main", "ladder": {"architecture": shape, "recipe": recipe, "budgets": [1024, 2048]}}
        ],
        "modifications": [{"fine_tune": {"task": task, "learning_rates": [0.01], "steps": 6, "batch": 4}}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content | changes))
    return folder / "study.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    open_materials.cache_clear()
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))


def test_dialogues_of_the_shape_of_hh(tmp_path):
    (tmp_path / "hh").mkdir()
    (tmp_path / "hh" / "train.jsonl").write_bytes(jsonl(talks(60)))
    (tmp_path / "hh" / "test.jsonl").write_bytes(jsonl(talks(80)[60:]))
    file = study(tmp_path, {"path": "hh", "like": "anthropic-hh", "called": "talks"})
    results = pliant.study(file, out=tmp_path / "out").run(workers=0)
    assert not results.failures
    tuned = [row for row in results.tables[0].rows if row["task"] == "talks" and row["evaluation"] == "task-loss"]
    assert {row["modification"] for row in tuned} == {"none", "fine-tune"}
    for checkpoint in {row["tokens"] for row in tuned}:
        base, after = (
            next(
                r["value"] for r in tuned if (r["tokens"], r["modification"], r["split"]) == (checkpoint, kind, "test")
            )
            for kind in ("none", "fine-tune")
        )
        assert after < base  # it learned from the chosen responses
    caveats = results.summary().studies[0].caveats
    assert "talks: left out, as their response is empty: 4 of 80 examples." in caveats
    assert any("training examples were cut to 64 tokens" in caveat for caveat in caveats)
    again = pliant.study(tmp_path / "out").run(workers=0)
    assert again.tables[0].rows == results.tables[0].rows


def test_conversations_of_the_shape_of_tulu(tmp_path):
    (tmp_path / "tulu.parquet").write_bytes(parquet(conversations(80)))
    results = pliant.study(study(tmp_path, {"path": "tulu.parquet"}), out=tmp_path / "out").run(workers=0)
    assert not results.failures
    assert results.tables[0].missing == 0
    assert {row["task"] for row in results.tables[0].rows} == {None, "tulu"}
    before = set(Store(tmp_path / "out").cells())
    (tmp_path / "tulu.parquet").write_bytes(parquet(conversations(81)))
    open_materials.cache_clear()
    more = pliant.study(study(tmp_path, {"path": "tulu.parquet"}), out=tmp_path / "out").run(workers=0)
    assert not more.failures
    assert len(set(Store(tmp_path / "out").cells()) - before) == 2  # other data, other cells: one a checkpoint


# In a study file.


def test_paths_are_taken_from_the_study_file(tmp_path):
    (tmp_path / "tulu.jsonl").write_bytes(jsonl(conversations(40)))
    spec = read_study(study(tmp_path, {"path": "tulu.jsonl", "pack": False}))
    assert spec.tasks == (TaskFiles(path=str(tmp_path / "tulu.jsonl"), pack=False),)
    assert parse_study(to_yaml(spec), "again") == spec
    assert read_study(study(tmp_path, "book")).tasks == ("book",)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ({"path": "a.jsonl", "lik": "gsm8k"}, "unknown key .*lik; did you mean like"),
        ({"path": "a.jsonl", "like": "gsmk"}, r"no public set 'gsmk' \(did you mean gsm8k\?\)"),
        ({"path": "a.jsonl", "template": "chatml"}, "Input should be 'model' or 'default', got 'chatml'"),
        ({"dataset": "a/b", "path": "c"}, "unknown key .*path"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, task, complaint):
    with pytest.raises(SpecError, match=complaint):
        read_study(study(tmp_path, task))


def test_two_tasks_of_one_name(tmp_path):
    tasks = ({"path": "a/talks.jsonl"}, {"path": "b/talks.jsonl"})
    entries = [{"fine_tune": {"task": task, "learning_rates": [0.01]}} for task in tasks]
    with pytest.raises(SpecError, match="two different tasks are called 'talks'; name one of them with called"):
        read_study(study(tmp_path, "book", modifications=entries))


# From the Hub.

ASK = """
import json, sys
from pliant.data.hub_rows import stored_rows
from pliant.data.task_setting import TaskDataset
for ask in json.load(sys.stdin):
    try:
        found = stored_rows(TaskDataset(**ask))
        answer = {"commit": found.commit, "splits": list(found.files)}
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""
PLAIN = TaskDataset(dataset="tiny/sums", rows=30)
ASKED = {
    "gsm8k": task_source("gsm8k"),
    "anthropic-hh": task_source("anthropic-hh"),
    "starcoder-python": task_source("starcoder-python"),
    "plain": PLAIN,
    "split": TaskDataset(dataset="tiny/sums", split="other"),
    "no split": TaskDataset(dataset="tiny/sums", split="tset"),
    "no configuration": TaskDataset(dataset="openai/gsm8k", name="mian"),
    "no dataset": TaskDataset(dataset="openai/gsm9k", like="gsm8k"),
}
CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files:
  - split: train
    path: socratic/train-*
---
"""


def published(hub: LoopbackHub) -> None:
    questions = [{"question": f"What is {n}?", "answer": f"#### {n}"} for n in range(100)]
    gsm8k = {
        "main/train-0.parquet": questions[:80],
        "main/test-0.parquet": questions[80:],
        "socratic/train-0.parquet": [],
    }
    files = {name: parquet(rows or questions) for name, rows in gsm8k.items()}
    hub.add("openai/gsm8k", "main", {"README.md": CARD.encode(), **files}, kind="datasets")
    parts = {"harmless-base": talks(60), "helpful-base": talks(120)[60:]}
    files = {f"{part}/{split}.jsonl.gz": gzip.compress(jsonl(rows[:40] if split == "train" else rows[40:]))
             for part, rows in parts.items() for split in ("train", "test")}  # fmt: skip
    hub.add("Anthropic/hh-rlhf", "main", files, kind="datasets")
    code = {f"{language}/train-0.parquet": parquet([{"content": f"{language} {n}\n" * 9} for n in range(90)])
            for language in ("python", "java")}  # fmt: skip
    hub.add("bigcode/starcoderdata", "main", code, kind="datasets")
    sums = {
        f"{split}-{part}-of-2.jsonl": jsonl(
            [{"prompt": f"{split} {part} {n}?", "completion": str(n)} for n in range(40)]
        )
        for split in ("train", "other")
        for part in (0, 1)
    }
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: {split}-*\n" for split in ("train", "other")
    )
    hub.add("tiny/sums", "main", {"README.md": f"{card}---\n".encode(), **sums}, kind="datasets")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def answers(home):
    """What one process with the real clients is answered, ask by ask."""
    with LoopbackHub() as hub:
        published(hub)
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
def fetched(home, answers, cache, monkeypatch):
    """This process: offline (conftest.py says so), with the cache that the other one filled."""
    monkeypatch.setenv("PLIANT_CACHE", str(home / "pliant"))
    monkeypatch.setitem(sys.modules, "datasets", None)


@pytest.mark.slow
def test_public_sets_from_the_hub(answers, fetched):
    questions = task_samples(ASKED["gsm8k"]).splits
    assert len(questions["test"]) == 20
    assert len(questions["train"]) + len(questions["validation"]) == 80
    assert sum(map(len, task_samples(ASKED["anthropic-hh"]).splits.values())) == 120 - 6  # 6 are empty
    code = task_samples(ASKED["starcoder-python"]).splits
    assert all(sample.responses[0].startswith("python") for sample in code["train"])
    for name in ("gsm8k", "anthropic-hh", "starcoder-python"):
        task = encode_task(name, open_tokenizer("bytes"), context=64)
        assert task.name == name


@pytest.mark.slow
def test_the_first_rows_are_taken_from_each_file_in_turn(answers, fetched):
    asked = [m.messages[0].content for some in task_samples(PLAIN).splits.values() for m in some]
    assert sorted(asked) == sorted(f"train {part} {n}?" for part in (0, 1) for n in range(15))
    named = task_samples(ASKED["split"])
    assert sum(map(len, named.splits.values())) == 80


@pytest.mark.slow
def test_a_study_keeps_the_commit_it_began_with(answers, fetched):
    begun = settled_task("gsm8k", ())
    assert isinstance(begun, TaskDataset)
    assert begun.revision == answers["gsm8k"]["commit"]
    assert settled_task("gsm8k", (begun,)) is begun
    assert task_samples(begun) == task_samples(ASKED["gsm8k"])
    assert settled_task("book", (begun,)) == "book"
    assert settled_task(begun, ()) == begun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        ("no split", "tiny/sums::tset: no split 'tset'; it has"),
        ("no configuration", "openai/gsm8k:mian: no configuration 'mian'; did you mean main?"),
        ("no dataset", "no dataset openai/gsm9k on the Hub"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(answers, ask, complaint):
    message = answers[ask]["error"]
    assert complaint in message
    assert "\n" not in message
