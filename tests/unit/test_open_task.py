"""Tasks from local files: their splits, what is left out and said of it, and data that cannot be learned from."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pliant.data.hub_stream import HubTextError
from pliant.data.open_task import encode_task
from pliant.data.samples import plain
from pliant.data.task_rows import task_samples
from pliant.data.task_setting import TaskDataset, TaskFiles, public_task, task_name, task_source
from pliant.data.tasks import IGNORED, TaskError, encode_text_task
from pliant.data.text_tasks import open_text_task
from pliant.data.tokenizers import open_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return open_tokenizer("bytes")


def pairs(numbers):
    return [{"prompt": f"{number} + 1 =", "completion": str(number + 1)} for number in numbers]


def reviews(count, label=None):
    return [{"text": f"film {n} .", "label": n % 2 if label is None else label} for n in range(count)]


def write(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content)
    return str(path)


def asked(samples, split):
    return [sample.messages[0].content for sample in samples.splits[split]]


def opened(path, tokenizer, context=32, **options):
    return encode_task(TaskFiles(path=str(path), **options), tokenizer, context=context)


def refusal(path, tokenizer, context=32, **options):
    with pytest.raises(TaskError) as error:
        opened(path, tokenizer, context, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def rows_as_text(split):
    return [bytes(row[row > 0].tolist()).decode() for row in split.inputs]


# Splits.


def test_a_file_is_divided_by_what_is_asked(tmp_path):
    rows = pairs(range(400))
    samples = task_samples(TaskFiles(path=write(tmp_path / "sums.jsonl", rows)))
    sizes = {split: len(some) for split, some in samples.splits.items()}
    assert sizes == {"train": 320, "validation": 40, "test": 40}
    assert {sample for some in samples.splits.values() for sample in some} == {
        plain(row["prompt"], row["completion"]) for row in rows
    }
    answered = [{**row, "completion": "?"} for row in rows]
    mixed = task_samples(TaskFiles(path=write(tmp_path / "more.jsonl", [*reversed(rows), *answered])))
    for split in sizes:  # neither the order nor the answer counts, and what is asked twice stays together
        assert set(asked(samples, split)) == set(asked(mixed, split))


@pytest.mark.parametrize(
    "names",
    [("train.jsonl", "test.jsonl"), ("train-0.parquet", "d/test-0.parquet"), ("train.jsonl.gz", "test/a.jsonl.gz")],
)
def test_a_folder_whose_names_say_which_split(tmp_path, names):
    for name, numbers in zip(names, (range(100), range(100, 120)), strict=True):
        write(tmp_path / "sums" / name, pairs(numbers))
    (tmp_path / "sums" / "README.md").write_text("Sums.")
    samples = task_samples(TaskFiles(path=str(tmp_path / "sums")))
    assert asked(samples, "test") == [row["prompt"] for row in pairs(range(100, 120))]
    assert len(samples.splits["train"]) + len(samples.splits["validation"]) == 100
    assert len(samples.splits["validation"]) == 10


def test_all_three_splits_of_its_own_and_files_of_none(tmp_path):
    for name, numbers in {"train": range(50), "dev": range(50, 55), "test": range(55, 60), "extra": range(9)}.items():
        write(tmp_path / "sums" / f"{name}.jsonl", pairs(numbers))
    samples = task_samples(TaskFiles(path=str(tmp_path / "sums")))
    assert [len(samples.splits[split]) for split in ("train", "validation", "test")] == [50, 5, 5]
    assert samples.notes == ("sums: left out, as the name says no split: extra.jsonl",)


def test_what_is_asked_twice_stays_in_the_split_further_held_out(tmp_path):
    for name, numbers in {"train": range(50), "validation": range(40, 60), "test": range(55, 65)}.items():
        write(tmp_path / "sums" / f"{name}.jsonl", pairs(numbers))
    samples = task_samples(TaskFiles(path=str(tmp_path / "sums")))
    assert [len(samples.splits[split]) for split in ("train", "validation", "test")] == [40, 15, 10]
    assert samples.notes == ("sums: left out, as a split further held out asks the same: 15 examples",)


def test_the_first_rows_come_from_every_file(tmp_path):
    write(tmp_path / "sums" / "a.jsonl", pairs(range(90)))
    write(tmp_path / "sums" / "b.jsonl", pairs(range(100, 190)))
    samples = task_samples(TaskFiles(path=str(tmp_path / "sums"), rows=60))
    every = {prompt for split in samples.splits for prompt in asked(samples, split)}
    assert every == {row["prompt"] for row in pairs([*range(30), *range(100, 130)])}


def test_a_local_copy_of_a_whole_public_set(tmp_path):
    questions = [{"question": f"What is {n}?", "answer": f"#### {n}"} for n in range(100)]
    write(tmp_path / "gsm8k" / "main" / "train-00000-of-00001.parquet", questions[:80])
    write(tmp_path / "gsm8k" / "main" / "test-00000-of-00001.parquet", questions[80:])
    write(tmp_path / "gsm8k" / "socratic" / "train-00000-of-00001.parquet", [{"question": "No?", "answer": "No."}])
    samples = task_samples(TaskFiles(path=str(tmp_path / "gsm8k"), like="gsm8k"))
    assert samples.splits["test"] == tuple(
        plain(f"Question: What is {n}?\nAnswer:\n", f"#### {n}") for n in range(80, 100)
    )


def test_splits_without_answers_are_not_used(tmp_path):
    row = {"sentence1": "A.", "idx": 1}
    for name, label in {"train": None, "validation": None, "test": -1}.items():
        rows = [{**row, "sentence2": f"{name} {n}", "label": n % 2 if label is None else label} for n in range(40)]
        write(tmp_path / "rte" / f"{name}.jsonl", rows)
    samples = task_samples(TaskFiles(path=str(tmp_path / "rte"), like="rte"))
    assert len(samples.splits["validation"]) == 40
    assert len(samples.splits["train"]) + len(samples.splits["test"]) == 40


# Encoding.


def scored(split, row):
    targets = split.targets[row]
    return bytes(targets[targets != IGNORED].tolist()).decode()


def test_training_rows_are_packed_and_held_out_ones_are_not(tmp_path, tokenizer):
    path = write(tmp_path / "sums.jsonl", pairs(range(100)))
    task = opened(path, tokenizer, 48)
    train, test = task.splits["train"], task.splits["test"]
    assert train.segments is not None
    assert test.segments is None
    unpacked = opened(path, tokenizer, 48, pack=False).splits["train"]
    assert unpacked.segments is None
    assert (unpacked.targets != IGNORED).sum() == (train.targets != IGNORED).sum()
    assert len(unpacked) > 2 * len(train)
    for row in range(len(test)):
        answer = scored(test, row)
        assert answer.endswith("\n\n")
        assert bytes(test.inputs[row].tolist()).decode().startswith(f"{int(answer) - 1} + 1 ={answer[:-1]}")
    assert task.notes == ()


def test_the_fingerprint_is_that_of_what_is_used(tmp_path, tokenizer):
    first = write(tmp_path / "a" / "sums.jsonl", pairs(range(60)))
    same = write(tmp_path / "b" / "other.jsonl.gz", [{**row, "id": 1} for row in pairs(range(60))])
    changed = write(tmp_path / "c" / "sums.jsonl", [*pairs(range(59)), {"prompt": "59 + 1 =", "completion": "61"}])
    found = [opened(path, tokenizer).fingerprint for path in (first, same, changed)]
    found += [
        opened(first, tokenizer, **o).fingerprint for o in ({"pack": False}, {"template": "default"}, {"rows": 59})
    ]
    found.append(opened(first, tokenizer, 40).fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == len(found) - 1


def test_what_was_cut_is_said(tmp_path, tokenizer):
    rows = [{"prompt": f"{n}" * 30, "completion": "y" * (30 if n % 10 == 3 else 3)} for n in range(1000, 1080)]
    task = opened(write(tmp_path / "long.jsonl", rows), tokenizer, 24)
    train = len(task_samples(TaskFiles(path=str(tmp_path / "long.jsonl"))).splits["train"])
    assert (task.truncated, task.cut_responses) == (72, 8)
    assert task.notes[0].startswith(f"long: {train} of {train} training examples were cut to 24 tokens (")
    assert task.notes[1].startswith(f"long: {80 - train} of {80 - train} held-out examples were cut")


def test_classification(tmp_path, tokenizer):
    task = opened(write(tmp_path / "mr.jsonl", reviews(80)), tokenizer, like="mr", called="films")
    assert task.name == "films"
    assert task.label_tokens == (ord("n"), ord("p"))
    assert task.splits["train"].segments is None
    assert {scored(split, row) for split in task.splits.values() for row in range(len(split))} == {
        "negative",
        "positive",
    }


def test_text_is_cut_into_windows(tmp_path, tokenizer):
    path = write(tmp_path / "code.jsonl", [{"content": f"x = {n}\n" * 9} for n in range(100)])
    for options in ({"text": "content"}, {"like": "starcoder-python"}):
        train = opened(path, tokenizer, **options).splits["train"]
        assert (train.targets != IGNORED).all()
        np.testing.assert_array_equal(train.inputs[:, 1:], train.targets[:, :-1])
    assert "pack has no effect on text" in refusal(path, tokenizer, text="content", pack=True)
    assert "template has no effect on text" in refusal(path, tokenizer, text="content", template="default")


def test_a_beginning_is_put_before_each_example(tmp_path, tokenizer):
    path = write(tmp_path / "sums.jsonl", pairs(range(50)))
    task = encode_task(TaskFiles(path=path), tokenizer, context=32, beginning=(2,))
    train = task.splits["train"]
    assert train.segments is not None
    for inputs, segments in zip(train.inputs, train.segments, strict=True):
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        assert set(inputs[starts]) <= {0, 2}  # 0 is padding
    assert (task.splits["test"].inputs[:, 0] == 2).all()


def test_embedded_tasks_are_what_they_were(tokenizer):
    task = encode_task("book", tokenizer, context=64, beginning=(2,))
    before = encode_text_task(open_text_task("book"), tokenizer, 64)
    assert task.fingerprint == before.fingerprint
    np.testing.assert_array_equal(task.splits["test"].inputs, before.splits["test"].inputs)


# What cannot be learned from.


@pytest.mark.parametrize(
    ("rows", "options", "complaint"),
    [
        ([{"q": "a", "a": "b"}], {}, "task data: FILE, line 1: columns ['a', 'q'], expected messages, or prompt and"),
        ([{"q": "a", "a": "b"}], {"like": "gsm8k"}, "FILE, line 1: columns ['a', 'q'], expected 'question' among them"),
        ([*pairs(range(30)), {"prompt": "a"}], {}, "FILE, line 31: columns ['prompt'], expected messages"),
        (
            [*pairs(range(30)), *[{"prompt": f"{n}?", "completion": " "} for n in range(3)]],
            {},
            "an empty response in 3 of 33 examples, first at FILE, line 31; fill or delete them, or leave them out "
            "with drop_empty: true",
        ),
        (
            [{"prompt": f"{n}?", "completion": ""} for n in range(9)],
            {"drop_empty": True},
            "an empty response in 9 of 9 examples",
        ),
        (reviews(60, label=1), {"like": "mr"}, "every label of its 48 training examples is 'positive'"),
        (
            [{"prompt": f"{n}?", "completion": "So."} for n in range(60)],
            {},
            "training examples is 'So.', so there is not",
        ),
        (
            [{"prompt": f"{n}", "completion": f"{n}" * 40} for n in range(60)],
            {},
            "none of the responses of its 48 training examples fits in a context of 32 tokens; raise held_out.context",
        ),
        (pairs(range(2)), {}, "none of its 2 examples is left for train; give more, or a file for each split with"),
        (pairs(range(40)), {"template": "model"}, "template: model, but the tokenizer bytes has no chat template"),
    ],
)
def test_data_that_cannot_be_learned_from(tmp_path, tokenizer, rows, options, complaint):
    path = write(tmp_path / "data.jsonl", rows)
    assert complaint.replace("FILE", path) in refusal(path, tokenizer, **options)


def test_empty_responses_left_out(tmp_path, tokenizer):
    rows = [*pairs(range(60)), {"prompt": "b", "completion": " "}]
    task = opened(write(tmp_path / "sums.jsonl", rows), tokenizer, drop_empty=True)
    assert task.notes == ("sums: left out, as their response is empty: 1 of 61 examples",)
    talks = [{"chosen": f"\n\nHuman: {n}?\n\nAssistant: {n if n else ''}", "rejected": ""} for n in range(60)]
    assert task_samples(TaskFiles(path=write(tmp_path / "hh.jsonl", talks), like="anthropic-hh")).notes


def test_places_without_data(tmp_path, tokenizer):
    assert "nothing is at" in refusal(tmp_path / "no", tokenizer)
    (tmp_path / "empty").mkdir()
    assert "no .jsonl, .jsonl.gz or .parquet files in this folder" in refusal(tmp_path / "empty", tokenizer)
    (tmp_path / "a.csv").write_text("a,b")
    assert "expected a .jsonl, .jsonl.gz or .parquet file; convert it" in refusal(tmp_path / "a.csv", tokenizer)
    write(tmp_path / "only" / "test.jsonl", pairs(range(9)))
    assert "has no training rows" in refusal(tmp_path / "only", tokenizer)
    (tmp_path / "b.jsonl").write_text('{"prompt": \n')
    with pytest.raises(ValueError, match=r"b\.jsonl, line 1: not JSON"):
        opened(tmp_path / "b.jsonl", tokenizer)


def test_no_such_task(tokenizer):
    with pytest.raises(
        TaskError, match=r"no task 'gsm8'.*\(did you mean gsm8k\?\); known are arithmetic, book, .*tulu"
    ):
        encode_task("gsm8", tokenizer, context=32)


# Settings.


def test_names():
    assert task_name("book") == "book"
    assert task_name(TaskFiles(path="a/my.talks.jsonl.gz")) == "my.talks"
    assert task_name(TaskFiles(path="a/talks", called="mine")) == "mine"
    assert task_name(TaskDataset(dataset="allenai/tulu-v.3")) == "tulu-v.3"
    assert task_name(task_source("gsm8k")) == "gsm8k"
    assert task_source("gsm8k") == TaskDataset(dataset="openai/gsm8k", name="main", like="gsm8k", called="gsm8k")
    assert task_source("book") == "book"
    assert task_source("starcoder-python") == replace(
        task_source("starcoder-python"), dataset="bigcode/starcoderdata", folder="python"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"like": "gsmk"}, r"no public set 'gsmk' \(did you mean gsm8k\?\); known: gsm8k, starcoder-python"),
        ({"like": "gsm8k", "text": "question"}, "like: gsm8k knows its columns"),
        ({"prompt": "a"}, "prompt and completion name columns together"),
        ({"rows": 0}, "rows is 0, expected at least 1"),
    ],
)
def test_settings_that_make_no_sense(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        TaskFiles(path="a.jsonl", **options)


def test_a_public_set_that_is_not_in_the_cache(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path))
    with pytest.raises(HubTextError, match="cannot be reached") as error:
        encode_task("gsm8k", tokenizer, context=32)
    assert "give a local copy as task: {path: FOLDER, like: gsm8k}" in str(error.value)
    assert "\n" not in str(error.value)
    assert public_task("gsm8k").dataset in str(error.value)


def test_texts_among_prompts_are_not_read_without_the_prompts(tmp_path: Path, tokenizer):
    file = write(tmp_path / "mixed.jsonl", [*pairs(range(40)), {"text": "Forty and one. " * 9}])
    with pytest.raises(TaskError, match="1 of its 41 examples are text without a prompt; give the others"):
        encode_task(TaskFiles(path=str(file)), tokenizer, context=32)


@pytest.mark.parametrize(
    "row", [{"prompt": "a\ud83d", "completion": "b"}, {"messages": [{"role": "assistant", "content": "\udc00"}]}]
)
def test_half_a_character_is_said_where_it_is(tmp_path: Path, tokenizer, row):
    said = refusal(write(tmp_path / "half.jsonl", [*pairs(range(40)), row]), tokenizer)
    assert "half.jsonl, line 41: '\\ud" in said
    assert "is half a character; delete it" in said
