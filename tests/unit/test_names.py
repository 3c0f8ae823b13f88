"""What checkpoint names of public runs say, and what only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.checkpoints.names import NameFacts, natural_order, read_name, tokens_in_name

B, T = 10**9, 10**12


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("step1000-tokens4B", NameFacts(step=1000, tokens=4 * B, tokens_unit=B)),
        ("stage1-step10000-tokens42B", NameFacts(step=10_000, tokens=42 * B, tokens_unit=B, stage="stage1")),
        (
            "stage2-ingredient1-step11931-tokens100B",
            NameFacts(step=11_931, tokens=100 * B, tokens_unit=B, stage="stage2-ingredient1"),
        ),
        ("stage3-step11921", NameFacts(step=11_921, stage="stage3")),
        ("step143000", NameFacts(step=143_000)),
        ("step0-tokens0B", NameFacts(step=0, tokens=0, tokens_unit=B)),
        ("checkpoint-500", NameFacts(step=500)),
        ("global_step1000", NameFacts(step=1000)),
        ("step-125000", NameFacts(step=125_000)),
        ("stage1-step-40000", NameFacts(step=40_000, stage="stage1")),
        ("lc-4k-to-32k-step-2000", NameFacts(step=2000, stage="lc-4k-to-32k")),
        ("ckpt_100", NameFacts(index=100)),
        ("ckpt_007", NameFacts(index=7)),
        ("ckpt_final", NameFacts()),
        ("tokens-4B", NameFacts(tokens=4 * B, tokens_unit=B)),
        ("tokens1.5T", NameFacts(tokens=3 * T // 2, tokens_unit=T // 10)),
        ("TinyLlama/TinyLlama-1.1B-step-50K-105b", NameFacts(step=50_000, tokens=105 * B, tokens_unit=B)),
        ("TinyLlama-1.1B-intermediate-step-480k-1T", NameFacts(step=480_000, tokens=T, tokens_unit=T)),
        (
            "TinyLlama-1.1B-intermediate-step-1195k-token-2.5T",
            NameFacts(step=1_195_000, tokens=5 * T // 2, tokens_unit=T // 10),
        ),
    ],
)
def test_names_of_public_runs(name, facts):
    assert read_name(name) == facts


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "",
        "final",
        "Llama-3-8B",
        "allenai/OLMo-1B",
        "olmo-1B-0724-hf",
        "pythia-1.4b-deduped",
        "Qwen2.5-7B",
        "v1.5",
        "it-SFT",
        "stepwise-7B",
        "footstep9",
        "timestep1000",
        "step",
        "step-",
        "step1.5",
        "step12x",
        "checkpoint",
        "checkpoint-7B",
        "checkpoint500",
        "tokens",
        "tokenizer-32K",
        "maxtokens512",
        "backstage1",
        "stage1b",
        "lc-model",
        "step٣",
    ],
)
def test_what_only_looks_similar_says_nothing(name):
    assert read_name(name) == NameFacts()


def test_a_size_after_a_plain_step_is_no_token_count():
    assert read_name("olmo-step-1000-7b") == NameFacts(step=1000)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("step1000-tokens4B", 4 * B),
        ("stage1-step239000-tokens2005B", 2005 * B),
        ("tokens_1.5M-final", 1_500_000),
        ("Tokens-250k", 250_000),
        ("tokens12", 12),
        ("step0-tokens0B", 0),
        ("step1000", None),
        ("tokens", None),
        ("tokens4Bx", None),
        ("tokens1.2.3", None),
    ],
)
def test_tokens_in_name(name, tokens):
    assert tokens_in_name(name) == tokens


suffixes = {"": 1, "K": 10**3, "M": 10**6, "B": B, "T": T}
counts = st.integers(0, 10**6)
stages = st.one_of(st.none(), st.builds("stage{}".format, st.integers(0, 99))) | st.builds(
    "stage{}-ingredient{}".format, st.integers(0, 99), st.integers(0, 99)
)


@given(stages, st.none() | counts, st.none() | st.tuples(counts, st.sampled_from(sorted(suffixes))), st.booleans())
def test_what_is_written_into_a_name_is_read_from_it(stage, step, tokens, upper):
    parts = [stage, None if step is None else f"step{step}", None if tokens is None else "tokens{}{}".format(*tokens)]
    name = "-".join(part for part in parts if part is not None)
    read = read_name(name.upper() if upper else name)
    assert (read.stage, read.step) == (stage, step)
    assert read.tokens == (None if tokens is None else tokens[0] * suffixes[tokens[1]])


@given(st.text(max_size=30))
def test_any_text_is_read(name):
    facts = read_name(name)
    assert facts.step is None or facts.step >= 0
    assert facts.tokens is None or facts.tokens >= 0


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_have_a_natural_order(names):
    keys = sorted(natural_order(name) for name in names)
    assert keys == sorted(natural_order(name) for name in reversed(names))


def test_numbers_sort_by_size():
    assert sorted(["part 10", "part 9", "part 9b"], key=natural_order) == ["part 9", "part 9b", "part 10"]
