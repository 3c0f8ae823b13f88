"""Token counts as people write them, and losses in other units."""

import math
import re

from pliant.records.outside import clipped

MARGIN_NATS = 0.01
"""A rise of the loss that matters, in nats per token, unless the user says otherwise."""
_SCALE = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000, "T": 1_000_000_000_000}
MOST_TOKENS = 10**18
_TOKENS = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*([KMBT]?)", re.IGNORECASE)
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)B?", re.IGNORECASE)


def parse_tokens(text: str | int | float) -> int:
    """`"1.31M"`, `"40B"`, `200_000` -> tokens.

    Raises:
        ValueError: not a positive whole number of tokens with an optional K, M, B or T.
    """
    match = _TOKENS.fullmatch(str(text).strip())
    tokens = float(match[1].replace(",", "").replace("_", "")) * _SCALE[match[2].upper()] if match else 0.0
    if not 0.5 < tokens < MOST_TOKENS:
        raise ValueError(f"{clipped(text)} is not a token count: write a positive number such as 500K, 1.31M or 40B")
    return round(tokens)


def parse_bytes(text: str | int) -> int:
    """`"60GB"` -> 60_000_000_000; a number alone is bytes.

    Raises:
        ValueError: not a size.
    """
    match = _BYTES.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write one such as 60GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def format_tokens(tokens: float) -> str:
    """1310720 -> "1.31M" (three significant digits)."""
    for suffix in ("T", "B", "M", "K"):
        if tokens >= _SCALE[suffix]:
            return f"{tokens / _SCALE[suffix]:.3g}{suffix}"
    return f"{tokens:.0f}"


def bits_per_byte(loss_nats: float, bytes_per_token: float) -> float:
    """nats per token -> bits per byte: loss / (ln 2 x bytes per token)."""
    return loss_nats / (math.log(2) * bytes_per_token)


def perplexity(loss_nats: float) -> float:
    """exp(nats per token); infinite where that overflows."""
    return math.exp(loss_nats) if loss_nats < 709 else math.inf
