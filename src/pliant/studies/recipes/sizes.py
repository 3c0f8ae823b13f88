"""Sizes of public data, tokenizers and benchmarks, for estimates that ask no network."""

from dataclasses import dataclass

ITEM_TOKENS = 400
"""A guess: the tokens of one benchmark item with all its choices."""
USUAL_ITEMS = 1000
"""A guess: the items of a benchmark that is not listed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicText:
    """One split of a Hub dataset as its card has it: what is downloaded of it, and what it is unpacked."""

    dataset: str
    name: str
    split: str
    documents: int
    download_bytes: int
    text_bytes: int


PUBLIC_TEXTS = (
    # huggingface.co/datasets/allenai/c4, dataset_info of legacy-datasets/c4; the download is that of both splits,
    # divided here as their text is
    PublicText(
        dataset="allenai/c4",
        name="en",
        split="train",
        documents=364_868_892,
        download_bytes=326_453_000_000,
        text_bytes=828_589_180_707,
    ),
    PublicText(
        dataset="allenai/c4",
        name="en",
        split="validation",
        documents=364_608,
        download_bytes=325_000_000,
        text_bytes=825_767_266,
    ),
)

VOCABULARIES = {
    "allenai/gpt-neox-olmo-dolma-v1_5": 50_280,  # github.com/allenai/OLMo-core, TokenizerConfig
}

BENCHMARK_ITEMS = {
    # the splits that lm-eval scores, by the cards of their data sets
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "piqa": 1838,
    "hellaswag": 10_042,
    "winogrande": 1267,
    "boolq": 3270,
    "openbookqa": 500,
    "sciq": 1000,
    "copa": 100,
    "commonsense_qa": 1221,
}


def benchmark_tokens(task: str, limit: int | None) -> int:
    """The tokens that one theta' reads for a benchmark, `limit` items at most."""
    items = BENCHMARK_ITEMS.get(task, USUAL_ITEMS)
    return ITEM_TOKENS * (items if limit is None else min(items, limit))
