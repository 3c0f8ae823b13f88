"""Rows of every form as examples, and what is said of rows that are none."""

import pytest

from pliant.data.public_tasks import PUBLIC_TASKS
from pliant.data.samples import Columns, SampleError, sample_of

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
ASKED = [("user", "Why?"), ("assistant", "So.")]


def turns(row, **columns):
    sample = sample_of(row, Columns(**columns))
    return [(message.role, message.content) for message in sample.messages], sample.plain


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"messages": [USER, ANSWER], "id": 1}, {}, (ASKED, False)),
        ({"messages": [USER, ANSWER, USER]}, {}, (ASKED, False)),
        ({"messages": [{"role": "system", "content": "Be."}, USER, ANSWER]}, {}, ([("system", "Be."), *ASKED], False)),
        ({"talk": [USER, ANSWER]}, {"messages": "talk"}, (ASKED, False)),
        ({"prompt": [USER], "completion": [ANSWER]}, {}, (ASKED, False)),
        ({"prompt": "Why?", "completion": "So."}, {}, (ASKED, True)),
        ({"q": "Why?", "a": "So.", "text": "x"}, {"prompt": "q", "completion": "a"}, (ASKED, True)),
        ({"instruction": "Why?", "input": "", "output": "So.", "text": "all"}, {}, (ASKED, False)),
        (
            {"instruction": "Why?", "input": "It rains.", "output": "So."},
            {},
            ([("user", "Why?\n\nIt rains."), ("assistant", "So.")], False),
        ),
        ({"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "x"}, {}, (ASKED, False)),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, {}, (ASKED, False)),
        (
            {"chosen": "\n\nHuman: Why?\n\nHuman: Say!\n\nAssistant: So\n\nit is.\n\nHuman: Ah"},
            {},
            ([("user", "Why?\n\nSay!"), ("assistant", "So\n\nit is.")], False),
        ),
        ({"text": "Once."}, {}, ([("assistant", "Once.")], True)),
        ({"content": "Once.", "messages": []}, {"text": "content"}, ([("assistant", "Once.")], True)),
    ],
)
def test_every_form(row, columns, expected):
    assert turns(row, **columns) == expected


@pytest.mark.parametrize(
    ("row", "columns", "complaint"),
    [
        ({"question": "?", "answer": "!"}, {}, r"columns \['answer', 'question'\], expected messages, or prompt and"),
        ({"prompt": "?"}, {}, r"name yours, such as \{prompt: question, completion: answer\}"),
        ({"prompt": "?"}, {"prompt": "q", "completion": "a"}, r"columns \['prompt'\], expected \"q\" among them"),
        ({"messages": "hello"}, {}, r'"messages" is a str, expected a list of'),
        ({"messages": [{"from": "human", "value": "?"}]}, {}, '"messages" is a list, expected a list of'),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, {}, "whose content is nothing, expected text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, {}, "whose content is a list"),
        ({"prompt": "?", "completion": 4}, {}, '"completion" is a int, expected a string'),
        ({"chosen": "Human: Why?\n\nAssistant: So."}, {}, '"chosen" begins \'Human: Why'),
        ({"chosen": "So."}, {}, '"chosen" begins'),
    ],
)
def test_rows_that_are_no_examples(row, columns, complaint):
    with pytest.raises(SampleError, match=complaint) as error:
        sample_of(row, Columns(**columns))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"prompt": "q"}, "prompt and completion name columns together"),
        ({"text": "t", "messages": "m"}, "name the columns of one form"),
    ],
)
def test_columns_that_do_not_go_together(columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        Columns(**columns)


@pytest.mark.parametrize(
    ("messages", "empty"),
    [([USER, ANSWER], False), ([USER, {"role": "assistant", "content": " \n"}], True), ([USER], True), ([], True)],
)
def test_empty_responses(messages, empty):
    assert sample_of({"messages": messages}, Columns()).is_empty is empty


def test_examples_that_ask_the_same():
    one, other = ({"prompt": "Why?", "completion": answer} for answer in ("So.", "Because."))
    assert sample_of(one, Columns()).key == sample_of(other, Columns()).key
    assert sample_of(one, Columns()).key != sample_of({"prompt": "How?", "completion": "So."}, Columns()).key
    assert sample_of({"text": "a"}, Columns()).key != sample_of({"text": "b"}, Columns()).key


# One row of each public set, with the columns that it has on the Hub.

ROWS = {
    "gsm8k": {"question": "2 and 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"},
    "starcoder-python": {"max_stars_repo_path": "a.py", "id": "1", "content": "import os\n"},
    "siqa": {
        "context": "A ran.",
        "question": "Why?",
        "answerA": "fun",
        "answerB": "fear",
        "answerC": "no",
        "label": "2",
    },
    "mr": {"text": "a joy .", "label": 1},
    "rte": {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 3},
    "trec": {"text": "Who ?", "label": 3, "label_coarse": 3, "label_coarse_original": "HUM"},
    "subj": {"text": "he goes .", "label": 0, "label_text": "objective"},
    "cr": {"text": "it broke .", "label": 0, "label_text": "negative"},
    "boolq": {"passage": "Ice floats.", "question": "does ice float", "answer": True},
    "tweet-sentiment": {"text": "so so", "label": 1},
    "anthropic-hh": {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    "tulu": {"dataset": "flan", "id": "1", "messages": [USER, ANSWER]},
}
ANSWERS = {
    "gsm8k": ("Question: 2 and 2?\nAnswer:\n", "2 + 2 = <<2+2=4>>4\n#### 4"),
    "siqa": ("Context: A ran.\nQuestion: Why?\nAnswer:\n", "fear"),
    "mr": ("Review: a joy .\nSentiment:\n", "positive"),
    "rte": ("Premise: It rains.\nHypothesis: It is wet.\nDoes the premise entail the hypothesis?\n", "yes"),
    "trec": ("Question: Who ?\nThe answer is about:\n", "human"),
    "subj": ("Sentence: he goes .\nThis is:\n", "objective"),
    "cr": ("Review: it broke .\nSentiment:\n", "negative"),
    "boolq": ("Ice floats.\nQuestion: does ice float?\nAnswer:\n", "yes"),
    "tweet-sentiment": ("Tweet: so so\nMood:\n", "neutral"),
    "anthropic-hh": ("Why?", "So."),
    "tulu": ("Why?", "So."),
}


def test_every_public_set_reads_its_rows():
    assert ROWS.keys() == PUBLIC_TASKS.keys()
    found = {name: PUBLIC_TASKS[name].sample(row) for name, row in ROWS.items()}
    assert found["starcoder-python"].responses == ("import os\n",)
    for name, (prompt, answer) in ANSWERS.items():
        assert [message.content for message in found[name].messages] == [prompt, answer]
        assert found[name].plain is (name not in ("anthropic-hh", "tulu"))


def test_label_words_begin_differently():
    for task in PUBLIC_TASKS.values():
        assert len({word[0] for word in task.words}) == len(task.words)
    assert [name for name, task in PUBLIC_TASKS.items() if task.words] == [
        "mr", "rte", "trec", "subj", "cr", "boolq", "tweet-sentiment",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row", "complaint"),
    [
        (
            "gsm8k",
            {"q": "?", "answer": "!"},
            r"columns \['answer', 'q'\], expected 'question' among them, as openai/gsm8k",
        ),
        ("gsm8k", {"question": "?"}, "expected answer among them"),
        ("rte", {**ROWS["rte"], "label": -1}, '"label" is -1, expected one of 0, 1'),
        ("siqa", {**ROWS["siqa"], "label": "4"}, '"label" is 4, expected one of 1, 2, 3'),
    ],
)
def test_rows_of_another_set(name, row, complaint):
    with pytest.raises(SampleError, match=complaint):
        PUBLIC_TASKS[name].sample(row)


def test_trec_as_its_authors_publish_it():
    assert PUBLIC_TASKS["trec"].sample({"text": "Who ?", "coarse_label": 3, "fine_label": 1}).responses == ("human",)


def test_roles_of_another_naming_are_told():
    row = {"messages": [{"role": "human", "content": "Odd?"}, {"role": "gpt", "content": "Yes."}]}
    with pytest.raises(SampleError, match="the roles are gpt, human, expected assistant, system, tool, user; rename"):
        sample_of(row, Columns())
