"""How many bytes of text each token stands for, so that losses a byte are of exactly the tokens scored."""

import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer

from pliant.data.streams import PackedStream
from pliant.data.tokenizers import BYTES, Tokenizer

_SPACE = "▁"  # what sentencepiece writes for a blank
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenBytes:
    """`lengths` by token id; the first token of a document, which follows `separator`, stands for `invented` bytes
    less: the blank that sentencepiece puts before every text."""

    lengths: Int[np.ndarray, " vocabulary"]
    separator: int
    invented: int

    def total(self, tokens: Integer[np.ndarray, "*any"], before: Integer[np.ndarray, "*any"]) -> int:
        """The bytes that `tokens` stand for, where `before` holds the token in front of each."""
        return int(self.lengths[tokens].sum()) - self.invented * int(np.count_nonzero(before == self.separator))


def exact_token_bytes(tokenizer: Tokenizer, stream: PackedStream) -> TokenBytes | None:
    """The bytes of each token where they are a property of the token: byte-level BPE, bytes, most sentencepiece.

    None where they do not add up to the bytes of `stream`, because the tokenizer drops blanks or rewrites characters.
    """
    found = _token_bytes(tokenizer)
    total, last = 0, np.asarray(tokenizer.separator[-1:] or (-1,), dtype=np.int64)
    for start in range(0, len(stream.tokens), _CHUNK):
        tokens = stream.tokens[start : start + _CHUNK].astype(np.int64)
        total += found.total(tokens, np.concatenate([last, tokens[:-1]]))
        last = tokens[-1:]
    return found if total == stream.byte_count else None


def _token_bytes(tokenizer: Tokenizer) -> TokenBytes:
    lengths = np.ones(tokenizer.vocabulary_size, dtype=np.int64)
    separator = tokenizer.separator[-1] if tokenizer.separator else -1
    if tokenizer.name == BYTES:
        return TokenBytes(lengths=lengths, separator=separator, invented=0)
    vocabulary: dict[str, int] = tokenizer.backend.get_vocab()
    byte_level = "ByteLevel" in json.dumps(json.loads(tokenizer.backend.backend_tokenizer.to_str())["decoder"])
    for symbol, index in vocabulary.items():
        lengths[index] = len(symbol) if byte_level else _piece_bytes(symbol)
    if not tokenizer.separator_bytes and tokenizer.separator:
        lengths[separator] = 0
    first = tokenizer.backend.backend_tokenizer.encode("a", add_special_tokens=False).tokens
    invents = not byte_level and bool(first) and first[0].startswith(_SPACE)
    return TokenBytes(lengths=lengths, separator=separator, invented=int(invents))


def _piece_bytes(piece: str) -> int:
    """ "▁the" -> 4, "é" -> 2, and 1 for the stand-in of a single byte, "<0xE2>"."""
    if len(piece) == 6 and piece.startswith("<0x"):
        return 1
    return len(piece.replace(_SPACE, " ").encode())
