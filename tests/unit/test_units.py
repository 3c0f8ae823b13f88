"""Token counts as people write them, and losses in other units."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.records.units import bits_per_byte, format_tokens, parse_tokens, perplexity


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("1.31M", 1_310_000),
        ("40B", 40_000_000_000),
        (" 3t ", 3_000_000_000_000),
        ("500 K", 500_000),
        ("1,310,720", 1_310_720),
        ("1_000", 1000),
        (".2M", 200_000),
        (200_000, 200_000),
        (2e5, 200_000),
    ],
)
def test_parse_tokens(text, tokens):
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "0", "-5", "M", "4 apples", "4MB", "nan", "inf", "0.0001K", "1.2.3M"])
def test_what_is_no_token_count_is_refused(text):
    with pytest.raises(ValueError, match="is not a token count: write a positive number such as"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("tokens", "text"), [(1_310_720, "1.31M"), (999, "999"), (1000, "1K"), (40e9, "40B"), (2.5e12, "2.5T")]
)
def test_format_tokens(tokens, text):
    assert format_tokens(tokens) == text


@given(st.integers(1, 10**14))
def test_formatting_and_parsing_agree_to_three_digits(tokens):
    assert parse_tokens(format_tokens(tokens)) == pytest.approx(tokens, rel=0.0051)


def test_bits_per_byte_and_perplexity():
    assert bits_per_byte(math.log(2), 1.0) == pytest.approx(1.0)
    assert bits_per_byte(math.log(16), 4.0) == pytest.approx(1.0)
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e6) == math.inf
