"""Tasks as arrays: which targets are scored, what is cut, and what does not fit."""

import numpy as np
import pytest

from pliant.data.markov import MarkovLanguage
from pliant.data.tasks import IGNORED, TaskError, encode_markov_task, encode_text_task
from pliant.data.text_tasks import Example, TextTask, open_text_task
from pliant.data.tokenizers import open_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return open_tokenizer("bytes")


def made(pairs, labels=()):
    examples = tuple(Example(prompt=prompt, answer=answer) for prompt, answer in pairs)
    return TextTask(
        name="made",
        description="made",
        licence="CC0-1.0",
        labels=labels,
        fingerprint="sha256:made",
        splits=dict.fromkeys(("train", "validation", "test"), examples),
    )


def scored(split, row):
    """[(tokens read up to a scored target, the target)] of one row, as text."""
    inputs, targets = split.inputs[row], split.targets[row]
    return [(bytes(inputs[: t + 1].tolist()).decode(), chr(targets[t])) for t in np.flatnonzero(targets != IGNORED)]


def test_only_answers_are_scored(tokenizer):
    task = encode_text_task(made([("2+2=", "4."), ("long: ", "x")]), tokenizer, 12)
    split = task.splits["test"]
    assert split.inputs.shape == split.targets.shape == (2, 12)
    assert scored(split, 0) == [("2+2=", "4"), ("2+2=4", ".")]
    assert scored(split, 1) == [("long: ", "x")]
    assert task.truncated == 0
    assert task.label_tokens == ()


def test_a_prompt_too_long_loses_its_beginning_and_is_counted(tokenizer):
    # 8 inputs hold the last 7 bytes of the prompt and all of the answer but its last byte.
    task = encode_text_task(made([("abcdefghij", "XY"), ("defghij", "XY"), ("cdefghij", "XY")]), tokenizer, 8)
    split = task.splits["train"]
    assert task.truncated == 2 * 3  # two of three examples in each of three splits
    assert task.notes == ("made: 6 of 9 prompts lost their beginning to fit 8 tokens",)
    for row in range(3):
        assert scored(split, row) == [("defghij", "X"), ("defghijX", "Y")]


def test_an_answer_that_fills_the_context_keeps_one_token_of_its_prompt(tokenizer):
    split = encode_text_task(made([("ab", "WXYZ")]), tokenizer, 4).splits["train"]
    assert scored(split, 0) == [("b", "W"), ("bW", "X"), ("bWX", "Y"), ("bWXY", "Z")]


@pytest.mark.parametrize("answer", ["", "VWXYZ"])
def test_an_answer_that_does_not_fit(tokenizer, answer):
    with pytest.raises(TaskError, match=f"task made: an answer of {len(answer)} tokens does not fit a context of 4"):
        encode_text_task(made([("ab", answer)]), tokenizer, 4)


def test_text_without_prompts_is_cut_into_full_windows(tokenizer):
    task = encode_text_task(made([("", "abcdef"), ("", "ghi")]), tokenizer, 4)
    split = task.splits["train"]
    windows = np.concatenate([split.inputs, split.targets[:, -1:]], axis=1)
    assert [bytes(row.tolist()) for row in windows] == [b"abcde", b"ef\n\ng", b"ghi\n\n"]
    np.testing.assert_array_equal(split.inputs[:, 1:], split.targets[:, :-1])


def test_text_shorter_than_a_window(tokenizer):
    with pytest.raises(TaskError, match="its train split is shorter than one window of 20 tokens"):
        encode_text_task(made([("", "abc")]), tokenizer, 20)


def test_labels_are_known_by_their_first_token(tokenizer):
    task = encode_text_task(made([("x", "yes"), ("y", "no")], labels=("yes", "no")), tokenizer, 8)
    assert task.label_tokens == (ord("y"), ord("n"))


def test_labels_that_begin_alike(tokenizer):
    with pytest.raises(TaskError, match="task made: two labels begin with the same token; the tokenizer cannot tell"):
        encode_text_task(made([("x", "no")], labels=("no", "never")), tokenizer, 8)


@pytest.mark.parametrize("name", ["arithmetic", "book", "field", "glosses", "python"])
def test_embedded_tasks_fit_a_context_of_64_bytes(tokenizer, name):
    source = open_text_task(name)
    task = encode_text_task(source, tokenizer, 64)
    assert task.truncated == 0
    for split, rows in task.splits.items():
        answers = sum(len(example.answer.encode()) for example in source.splits[split])
        count = int((rows.targets != IGNORED).sum())
        separators = 2 * len(source.splits[split]) if name == "python" else 0
        assert 0 <= answers + separators - count <= (64 if name == "python" else 0)
    assert bool(task.label_tokens) == (name in ("book", "field"))


def test_context_and_tokenizer_are_part_of_the_fingerprint(tokenizer):
    task = made([("A", "B")])
    markov = open_tokenizer("markov")
    found = {encode_text_task(task, t, context).fingerprint for t in (tokenizer, markov) for context in (4, 5)}
    assert len(found) == 4


# relatives of the Markov language


@pytest.fixture(scope="module")
def skip():
    return encode_markov_task(MarkovLanguage(3, "skip"), 16)


def test_markov_tasks_are_fresh_windows_all_scored(skip):
    assert skip.name == "skip"
    assert {split: len(rows) for split, rows in skip.splits.items()} == {
        "train": 16384,
        "validation": 512,
        "test": 1024,
    }
    rows = set()
    for split in skip.splits.values():
        assert split.inputs.shape[1] == 16
        np.testing.assert_array_equal(split.inputs[:, 1:], split.targets[:, :-1])
        assert (split.targets >= 0).all()
        rows |= {tuple(row) for row in split.inputs.tolist()}
    assert len(rows) > 17_900


def test_markov_tasks_are_the_same_every_time(skip):
    again = encode_markov_task(MarkovLanguage(3, "skip"), 16)
    assert again.fingerprint == skip.fingerprint
    np.testing.assert_array_equal(again.splits["test"].inputs, skip.splits["test"].inputs)
    other = encode_markov_task(MarkovLanguage(4, "skip"), 16)
    assert other.fingerprint != skip.fingerprint
