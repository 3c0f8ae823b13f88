"""Public sets to fine-tune on, by name: where they are on the Hub, and how a row becomes an example.

The sets are those of the paper (Springer et al. 2025, sections 2.3 and 3.4 and the appendix). It gives no prompts, no
Hub names and, for TULU, no version: what stands here is this project's choice, and part of a task's fingerprint.
Label words begin with different letters, so that any tokenizer tells them apart by one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pliant.data.samples import Columns, Sample, SampleError, plain, sample_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTask:
    """A set on the Hub. `prompt` is filled with the columns of a row, `answer` names the column of the answer.

    `labels` translates what that column holds into label words; it is empty where the answer is free text. With
    `options` the answer column holds the number, from 1, of the column whose text is the answer. Without `prompt` the
    rows have a form of their own (samples.FORMS). `splits` are those with answers, () for all.
    """

    dataset: str
    name: str | None = None
    folder: str | None = None
    prompt: str | None = None
    answer: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    drop_empty: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.labels.values()))

    def sample(self, row: Mapping[str, Any]) -> Sample:
        """The example in a row of this set.

        Raises:
            SampleError: other columns than the set has, or a label that it does not know.
        """
        if self.prompt is None:
            return sample_of(row, self.columns)
        column = next((name for name in self.answer if name in row), None)
        try:
            prompt = self.prompt.format_map(row)
        except KeyError as error:
            raise SampleError(f"columns {sorted(row)}, expected {error} among them, as {self.dataset} has") from error
        if column is None:
            raise SampleError(f"columns {sorted(row)}, expected {self.answer[0]} among them, as {self.dataset} has")
        known: Mapping[str, Any] = self.labels or {
            str(number): row.get(name) for number, name in enumerate(self.options, start=1)
        }
        value = str(row[column])
        if known and known.get(value) is None:
            raise SampleError(f'"{column}" is {value}, expected one of {", ".join(known)}')
        return plain(prompt, str(known[value]) if known else value)


_SENTIMENT = {"0": "negative", "1": "positive", "negative": "negative", "positive": "positive"}

PUBLIC_TASKS: Mapping[str, PublicTask] = {
    # 7,473 train, 1,319 test; the answer holds the steps, then "#### " and the number
    "gsm8k": PublicTask(
        dataset="openai/gsm8k", name="main", prompt="Question: {question}\nAnswer:\n", answer=("answer",)
    ),
    # gated; files of code in `content`, one folder a language
    "starcoder-python": PublicTask(dataset="bigcode/starcoderdata", folder="python", columns=Columns(text="content")),
    # allenai/social_i_qa is a script, which `datasets` runs no more: this copy of it is what lm-eval reads, too
    "siqa": PublicTask(
        dataset="lighteval/siqa",
        prompt="Context: {context}\nQuestion: {question}\nAnswer:\n",
        answer=("label",),
        options=("answerA", "answerB", "answerC"),
    ),
    # sentences of film reviews; 0 negative, 1 positive
    "mr": PublicTask(
        dataset="cornell-movie-review-data/rotten_tomatoes",
        prompt="Review: {text}\nSentiment:\n",
        answer=("label",),
        labels=_SENTIMENT,
    ),
    # the labels of its test split are not published (-1); 0 entailment, 1 not
    "rte": PublicTask(
        dataset="nyu-mll/glue",
        name="rte",
        prompt="Premise: {sentence1}\nHypothesis: {sentence2}\nDoes the premise entail the hypothesis?\n",
        answer=("label",),
        labels={"0": "yes", "1": "no"},
        splits=("train", "validation"),
    ),
    # CogComp/trec is a script, too; its own column `coarse_label` is understood in a local copy
    "trec": PublicTask(
        dataset="SetFit/TREC-QC",
        prompt="Question: {text}\nThe answer is about:\n",
        answer=("label_coarse_original", "coarse_label"),
        labels={
            **dict.fromkeys(("ABBR", "0"), "abbreviation"),
            **dict.fromkeys(("ENTY", "1"), "entity"),
            **dict.fromkeys(("DESC", "2"), "description"),
            **dict.fromkeys(("HUM", "3"), "human"),
            **dict.fromkeys(("LOC", "4"), "location"),
            **dict.fromkeys(("NUM", "5"), "number"),
        },
    ),
    "subj": PublicTask(
        dataset="SetFit/subj",
        prompt="Sentence: {text}\nThis is:\n",
        answer=("label_text",),
        labels={"objective": "objective", "subjective": "subjective"},
    ),
    "cr": PublicTask(
        dataset="SetFit/CR",
        prompt="Review: {text}\nSentiment:\n",
        answer=("label_text", "label"),
        labels=_SENTIMENT,
    ),
    "boolq": PublicTask(
        dataset="google/boolq",
        prompt="{passage}\nQuestion: {question}?\nAnswer:\n",
        answer=("answer",),
        labels={"True": "yes", "False": "no"},
    ),
    # 0 negative, 1 neutral, 2 positive; "negative" and "neutral" begin alike, so other words stand for them
    "tweet-sentiment": PublicTask(
        dataset="cardiffnlp/tweet_eval",
        name="sentiment",
        prompt="Tweet: {text}\nMood:\n",
        answer=("label",),
        labels={"0": "bad", "1": "neutral", "2": "good"},
    ),
    # 160,800 train, 8,552 test; `chosen` is a whole dialogue, and in a few the last response is empty
    "anthropic-hh": PublicTask(dataset="Anthropic/hh-rlhf", drop_empty=True),
    # 326,154 conversations. The paper says TULU without a version; 2 is what OLMo 7B SFT was tuned on (open-instruct,
    # docs/tulu1_tulu2.md). Version 3 is {dataset: allenai/tulu-3-sft-mixture, like: tulu}
    "tulu": PublicTask(dataset="allenai/tulu-v2-sft-mixture", drop_empty=True),
}
