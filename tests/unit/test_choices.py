"""Multiple choice from a file: what is read, what is refused, and what the measurements are by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.data.tokenizers import open_tokenizer
from pliant.evaluation.choices import (
    Item,
    ItemError,
    choice_log_probabilities,
    choice_measurements,
    file_fingerprint,
    read_items,
)
from pliant.evaluation.prompts import request_of


def written(folder: Path, *lines: Any) -> Path:
    file = folder / "items.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


@pytest.mark.parametrize(
    "line",
    [
        {"context": "q", "choices": ["a", "b"], "answer": 1},
        {"question": "q", "choices": ["a", "b"], "gold": "1"},
        {"ctx": "q", "endings": ["a", "b"], "label": "B"},
        {"query": "q", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"},
    ],
)
def test_forms_in_which_items_come(tmp_path: Path, line: dict[str, Any]):
    assert read_items(written(tmp_path, line)) == (Item(context="q", choices=("a", "b"), answer=1),)


def test_a_limit_takes_the_first_items(tmp_path: Path):
    lines = [{"context": str(n), "choices": ["a", "b"], "answer": 0} for n in range(5)]
    assert [item.context for item in read_items(written(tmp_path, *lines), 2)] == ["0", "1"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1: not JSON"),
        ([1], "expected an object"),
        ({"choices": ["a", "b"], "answer": 0}, r"no context \(or question"),
        ({"context": "q", "choices": ["a"], "answer": 0}, "two or more texts"),
        ({"context": "q", "choices": ["a", ""], "answer": 0}, "two or more texts"),
        ({"context": "q", "choices": ["a", "b"], "answer": 2}, "answer is 2; give a place from 0 to 1"),
        ({"context": "q", "choices": ["a", "b"]}, "no answer"),
    ],
)
def test_lines_that_are_no_items_are_refused(tmp_path: Path, line: Any, says: str):
    with pytest.raises(ItemError, match=says) as caught:
        read_items(written(tmp_path, line))
    assert "\n" not in str(caught.value)


def test_files_that_hold_nothing_are_refused(tmp_path: Path):
    with pytest.raises(ItemError, match="cannot be read"):
        read_items(tmp_path / "nowhere.jsonl")
    with pytest.raises(ItemError, match="cannot be read"):
        file_fingerprint(tmp_path / "nowhere.jsonl")
    with pytest.raises(ItemError, match="holds no items"):
        read_items(written(tmp_path))


def test_measurements_by_hand():
    items = [
        Item(context="q", choices=("a", "bbbb"), answer=1),
        Item(context="q", choices=("aa", "éé", "c"), answer=2),
    ]
    found = choice_measurements(items, [np.array([-2.0, -4.0]), np.array([-2.0, -3.0, -1.5])], draw=2, sign=1)
    by = {m.metric: m for m in found}
    assert by["acc"].blocks == (0.0, 1.0)
    # per byte: -2 against -1; -1, -3/4 and -1.5
    assert by["acc_norm"].blocks == (1.0, 0.0)
    assert by["answer_nats"].blocks == (-4.0, -1.5)
    assert by["margin_nats"].blocks == (-2.0, 0.5)
    assert all(m.count == (1, 1) and m.value == sum(m.blocks) / 2 and (m.draw, m.sign) == (2, 1) for m in found)


def test_a_choice_is_scored_after_its_context_and_a_blank():
    import torch

    model = build_model(Architecture(width=16, layers=1, heads=2, feed_forward=24, context=64), 256, 0).eval()
    item = Item(context="The cat", choices=("sat", "is"), answer=0)
    (found,) = choice_log_probabilities(model, open_tokenizer("bytes"), [item], batch_tokens=64)
    for nats, choice in zip(found, item.choices, strict=True):
        ids = torch.tensor([list(f"The cat {choice}".encode())])
        labels = ids.clone()
        labels[:, : len("The cat")] = -100
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=labels).loss.item()
        assert nats == pytest.approx(-loss * (len(choice) + 1), rel=1e-5)


def test_where_context_and_continuation_are_parted():
    tokenizer = open_tokenizer("bytes")
    assert bytes(request_of(tokenizer, "a  ", "b").continuation) == b"  b"
    assert bytes(request_of(tokenizer, "", "ab").context) == b"\n"
    with pytest.raises(ValueError, match="no token of bytes of its own"):
        request_of(tokenizer, "a", "")


def test_the_mean_is_that_of_the_blocks():
    items = [Item(context="q", choices=("a", "b"), answer=n % 2) for n in range(7)]
    random = np.random.default_rng(0)
    for m in choice_measurements(items, [random.normal(size=2) for _ in items], draw=None, sign=None):
        assert m.value == math.fsum(m.blocks) / sum(m.count)
