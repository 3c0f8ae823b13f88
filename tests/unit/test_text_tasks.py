"""The embedded tasks: sizes, labels, disjoint splits, and arithmetic that is right."""

import itertools
import operator
import re
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from scipy.sparse import csr_array

from pliant.data import arithmetic
from pliant.data.corpora import SPLITS, open_corpus
from pliant.data.text_tasks import TEXT_TASKS, open_text_task

SHIPPED = {
    "arithmetic": (
        (3000, 400, 900),
        "sha256:88bfa598da04d24ebc1e2759604b6a7dab22fcf50735885ba20b964717b4d40e",
    ),
    "book": ((3000, 450, 1200), "sha256:2fb3187249d30793c385fb36f2fdc801af66080446f5550dc133f7d108b1f261"),
    "field": ((4160, 512, 1040), "sha256:417924dfc4dd58132236f9e866615d0801bf8b5e809a6f8cd80eca6fa2ff600f"),
    "glosses": ((4600, 512, 1200), "sha256:7fa2b5117cbc04e6c2be2731727e1a524dadd10d478d25eddd2fd58b709853cb"),
    "python": ((1988, 135, 290), "sha256:9731186aa9ce087c438ae017970728c2bc839e5db5b495b98c854d78fcfa2ed6"),
}


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_task_is_what_earlier_records_were_made_on(name):
    task = open_text_task(name)
    assert task.name == name
    assert (tuple(len(task.splits[split]) for split in SPLITS), task.fingerprint) == SHIPPED[name]
    assert task.licence
    assert task.description


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_no_example_lies_in_two_splits(name):
    task = open_text_task(name)
    # Where there is no prompt, the answer is the whole example.
    wholes = [{example.prompt or example.answer for example in task.splits[split]} for split in SPLITS]
    assert sum(map(len, wholes)) == len(set().union(*wholes))
    assert [len(whole) for whole in wholes] == [len(task.splits[split]) for split in SPLITS]


def test_unknown_task_lists_the_known_ones():
    known = "arithmetic, book, field, glosses, python"
    with pytest.raises(ValueError, match=f'no embedded task "pyton": give one of {known}'):
        open_text_task("pyton")


@pytest.mark.parametrize("name", ["arithmetic", "book", "field", "glosses"])
def test_prompt_and_answer_fit_a_context_of_64_bytes(name):
    task = open_text_task(name)
    for split in SPLITS:
        assert max(len((example.prompt + example.answer).encode()) for example in task.splits[split]) <= 62


# classification


@pytest.mark.parametrize(("name", "labels"), [("book", ("K", "M", "S")), ("field", ("A", "H", "P", "Q"))])
def test_labels_are_one_byte_each_and_equally_frequent(name, labels):
    task = open_text_task(name)
    assert task.labels == labels
    for split in SPLITS:
        counts = Counter(example.answer for example in task.splits[split])
        assert counts == dict.fromkeys(task.labels, len(task.splits[split]) // len(labels))


def test_book_prompts_are_not_in_the_pretraining_corpus():
    """Up to formulas so common that they recur ("And the word of the LORD came unto me, saying, ...")."""
    task = open_text_task("book")
    starts = {
        tuple(words[:8]): split
        for split in SPLITS
        for example in task.splits[split]
        if len(words := example.prompt.split()) >= 8
    }
    assert len(starts) > 3500
    found = set()
    for document in open_corpus("english").read():
        words = document.text.split()
        found |= starts.keys() & set(zip(*(words[at:] for at in range(8)), strict=False))
    assert len(found) < 0.01 * len(starts)


@pytest.mark.parametrize("name", ["book", "field"])
def test_classification_is_about_the_words(name):
    """Naive Bayes over words, trained on the train split, is right far above the majority on test."""
    task = open_text_task(name)
    counts = {label: Counter() for label in task.labels}
    for example in task.splits["train"]:
        counts[example.answer].update(example.prompt.lower().split())

    def evidence(label, words):
        total = counts[label].total() + 10_000
        product = 1.0
        for word in words:
            product *= 1000 * (counts[label][word] + 1) / total
        return product

    right = sum(
        example.answer == max(task.labels, key=lambda label: evidence(label, example.prompt.lower().split()))
        for example in task.splits["test"]
    )
    assert right / len(task.splits["test"]) > 0.7


# python


def test_python_pieces_are_code_without_a_prompt():
    task = open_text_task("python")
    pieces = [example.answer for split in SPLITS for example in task.splits[split]]
    assert not any(example.prompt for split in SPLITS for example in task.splits[split])
    assert all(64 <= len(piece.encode()) <= 1000 for piece in pieces)
    assert 600_000 <= sum(map(len, pieces)) <= 1_200_000
    assert sum("def " in piece for piece in pieces) > len(pieces) / 2


def test_python_splits_share_no_run_of_thirteen_words():
    task = open_text_task("python")
    runs = []
    for split in SPLITS:
        words = [re.findall(r"[A-Za-z0-9]+", example.answer.lower()) for example in task.splits[split]]
        runs.append({tuple(piece[at : at + 13]) for piece in words for at in range(len(piece) - 12)})
    assert all(runs)
    assert not runs[0] & runs[1]
    assert not runs[0] & runs[2]
    assert not runs[1] & runs[2]


def test_assets_stay_small():
    sizes = {
        asset.name: len(asset.read_bytes()) for asset in resources.files("pliant.data").joinpath("assets").iterdir()
    }
    assert sizes["python.jsonl.xz"] <= 350_000
    assert sizes["glosses.jsonl.xz"] + sizes["field.jsonl.xz"] <= 200_000
    assert sum(sizes.values()) <= 5_000_000


# glosses and field


def greatest_likeness(texts, others):
    """The greatest |A and B| / |A or B| over the words of a text and of another."""
    found = [[set(re.findall(r"[a-z0-9]+", text.lower())) for text in group] for group in (texts, others)]
    column = {word: number for number, word in enumerate(sorted(set().union(*found[0], *found[1])))}
    first, second = (
        csr_array(
            (
                np.ones(sum(map(len, group))),
                [column[word] for words in group for word in words],
                np.cumsum([0, *map(len, group)]),
            ),
            shape=(len(group), len(column)),
        )
        for group in found
    )
    both = (first @ second.T).tocoo()
    sizes = first.sum(axis=1)[both.coords[0]] + second.sum(axis=1)[both.coords[1]]
    return (both.data / (sizes - both.data)).max()


def test_greatest_likeness_by_hand():
    assert greatest_likeness(["a b", "c d e"], ["C, D; f g", "h"]) == 2 / 5


@pytest.mark.parametrize("name", ["field", "glosses"])
def test_no_gloss_is_nearly_one_of_another_split(name):
    task = open_text_task(name)
    glosses = {split: [e.prompt if task.labels else e.answer for e in task.splits[split]] for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert 0.4 < greatest_likeness(glosses[one], glosses[other]) < 0.6


def test_glosses_have_a_word_its_part_of_speech_and_a_sentence():
    task = open_text_task("glosses")
    examples = [example for split in SPLITS for example in task.splits[split]]
    entries = [re.fullmatch(r"(\S.*\S|\S) \((noun|verb|adjective|adverb)\): ", e.prompt) for e in examples]
    assert all(entries)
    assert min(Counter(entry[2] for entry in entries).values()) > 300
    assert len({entry[1].lower() for entry in entries}) == len(entries)
    assert all(re.fullmatch(r"[^\n;:\"]{16,}\.", example.answer) for example in examples)


def test_glosses_explain_their_words():
    """A word is named in its own gloss far more often than in the gloss before it."""
    task = open_text_task("glosses")
    stems = [example.prompt.split()[0].lower()[:5] for example in task.splits["train"]]
    answers = [example.answer.lower() for example in task.splits["train"]]
    own = sum(stem in answer for stem, answer in zip(stems, answers, strict=True))
    shifted = sum(stem in answer for stem, answer in zip(stems[1:], answers, strict=False))
    assert own > 5 * shifted


# arithmetic

READINGS = {
    r"has (\d+) \w+, buys (\d+)\. Total": operator.add,
    r"had (\d+) \w+ and found (\d+)": operator.add,
    r"has (\d+) \w+, loses (\d+)": operator.sub,
    r"had (\d+) \w+ and sold (\d+)": operator.sub,
    r"fills (\d+) bags, (\d+) \w+ each": operator.mul,
    r"^(\d+) \w+ cost (\d+) each": operator.mul,
    r"has (\d+) \w+, gets (\d+), gives (\d+)": lambda a, b, c: a + b - c,
    r"has (\d+) \w+, uses (\d+), then (\d+)": lambda a, b, c: a - b - c,
    r"buys (\d+) \w+, (\d+) and (\d+) more": lambda a, b, c: a + b + c,
}


def test_arithmetic_answers_are_right():
    task = open_text_task("arithmetic")
    used = Counter()
    for example in (example for split in SPLITS for example in task.splits[split]):
        (reading,) = [pattern for pattern in READINGS if re.search(pattern, example.prompt)]
        numbers = map(int, re.search(reading, example.prompt).groups())
        assert example.answer == f"{READINGS[reading](*numbers)}."
        used[reading] += 1
    assert used.keys() == READINGS.keys()
    assert min(used.values()) > 100


def skeleton(question):
    """The template and its numbers: the question without name and thing."""
    return tuple(word for word in question.split() if word.strip(",.?") not in arithmetic.NAMES + arithmetic.THINGS)


def test_arithmetic_splits_share_no_template_with_its_numbers_whatever_the_seeds():
    first, second = arithmetic.problems(seed=1), arithmetic.problems(seed=2)
    for split in SPLITS:
        here = {skeleton(question) for question, _ in first[split]}
        elsewhere = {skeleton(question) for other in SPLITS if other != split for question, _ in second[other]}
        assert not here & elsewhere


def test_arithmetic_is_a_pure_function_of_its_seed():
    assert arithmetic.problems(seed=3) == arithmetic.problems(seed=3)
    assert arithmetic.problems(seed=3) != arithmetic.problems(seed=4)
