"""The held-out rows that every theta' is measured on: windows of a packed stream, or whole documents.

Windows hold as many tokens for every tokenizer, and so different text; documents are the same bytes for every
tokenizer, and so are their blocks.
"""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pliant.data.corpora import Corpus, Split
from pliant.data.streams import pack
from pliant.data.tasks import IGNORED, EncodedSplit
from pliant.data.token_bytes import exact_token_bytes
from pliant.data.tokenizers import Tokenizer, TokenizerError
from pliant.data.windows import ShuffledStream
from pliant.records.identity import Json, digest

SEED = 20_250_319  # any fixed number: which held-out windows are taken must never change
DOCUMENT_BYTES = 4096
"""A document is cut here, so that a few long ones do not stand for the whole text."""
BLOCK_BYTES = 2048
"""Documents are summed into blocks of at least so many bytes: intervals over text resample them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Rows to score, the fingerprint that names exactly them, and the mean bytes that a scored token stands for."""

    rows: EncodedSplit
    fingerprint: str
    bytes_per_token: float


def held_out_windows(
    corpus: Corpus, split: Split, tokenizer: Tokenizer, *, context: int, tokens: int, beginning: tuple[int, ...]
) -> HeldOut:
    """`tokens // context` shuffled windows of the packed split; `beginning` takes the place of their first tokens.

    What a window scores is the same with one token of `beginning` as without: its first token is context either way.
    The bytes are those of the scored tokens; of the whole stream on average where the tokenizer does not tell.

    Raises:
        ValueError: the split has fewer tokens.
    """
    stream = pack(corpus, split, tokenizer)
    source = ShuffledStream(tokens=stream.tokens, fingerprint=stream.fingerprint, context=context, seed=SEED)
    rows = max(1, tokens // context)
    if rows > source.windows_per_epoch:
        raise ValueError(
            f"the {split} split of {corpus.name} has {len(stream.tokens):,} tokens, "
            f"held_out asks for {tokens:,}; lower held_out.tokens or {corpus.more}"
        )
    windows = source.windows(0, rows)
    inputs, targets = windows[:, :-1].copy(), windows[:, 1:].copy()
    known = exact_token_bytes(tokenizer, stream)
    per_token = known.total(targets, inputs) / targets.size if known else stream.bytes_per_token
    what: list[Json] = [stream.fingerprint, tokens, context]
    if beginning:
        inputs[:, : len(beginning)] = beginning
        targets[:, : len(beginning) - 1] = IGNORED
        what += [list(beginning)]
    return HeldOut(
        rows=EncodedSplit(inputs=inputs, targets=targets),
        fingerprint="sha256:" + digest(what, length=64),
        bytes_per_token=per_token,
    )


def held_out_documents(
    texts: Sequence[str], tokenizer: Tokenizer, *, context: int, beginning: tuple[int, ...]
) -> HeldOut:
    """Every token of `texts` scored once, each text by itself, in rows of `context`; the shorter last one is padded.

    The first token follows `beginning`, or what separates documents where that is empty. Later rows of a text begin
    with `beginning` too, or with the token before.

    Raises:
        TokenizerError: the tokenizer has neither, so that the first token could not be scored.
    """
    before = beginning or tokenizer.separator[-1:]
    if not before:
        raise TokenizerError(
            f"the tokenizer {tokenizer.name} has no token to put before a document (beginning, end, or blank line); "
            "leave held_out.by out"
        )
    inputs: list[list[int]] = []
    targets: list[list[int]] = []
    starts = [0]
    room, size = context + 1 - len(before), 0
    for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
        if size >= BLOCK_BYTES:
            starts.append(len(inputs))
            size = 0
        size += len(text.encode())
        for at in range(0, len(ids), room):
            part = ids[at : at + room].tolist()
            head = list(before) if beginning or not at else [int(ids[at - 1])]
            padding = room - len(part)
            inputs.append(head + part[:-1] + [0] * padding)
            targets.append([IGNORED] * (len(head) - 1) + part + [IGNORED] * padding)
    rows = EncodedSplit(
        inputs=np.array(inputs, dtype=np.int64),
        targets=np.array(targets, dtype=np.int64),
        block_starts=np.array(starts, dtype=np.int64),
    )
    what: list[Json] = ["documents", list(texts), tokenizer.fingerprint, context, list(before)]
    scored = int((rows.targets != IGNORED).sum())
    return HeldOut(
        rows=rows,
        fingerprint="sha256:" + digest(what, length=64),
        bytes_per_token=sum(len(text.encode()) for text in texts) / scored,
    )


def choose_documents(corpus: Corpus, split: Split, byte_count: int) -> list[str]:
    """Documents of `split`, in an order fixed by a hash of each, until they hold `byte_count` bytes.

    Each is cut after 4096 bytes, and the last where the sum is reached, at a whole character. What is taken depends
    on the text alone, never on a tokenizer or on the order of files; equal documents count once. One pass; memory
    for about `byte_count` bytes.

    Raises:
        ValueError: the split has fewer bytes.
    """
    kept: list[tuple[int, str]] = []  # a heap, largest hash first
    known: set[int] = set()
    total = 0
    for document in corpus.documents(split):
        text = _cut(document.text, DOCUMENT_BYTES)
        key = -int.from_bytes(hashlib.sha256(b"held out\n" + text.encode()).digest())
        if key in known or (total >= byte_count and key < kept[0][0]):
            continue
        heapq.heappush(kept, (key, text))
        known.add(key)
        total += len(text.encode())
        while total - (largest := len(kept[0][1].encode())) >= byte_count:
            known.remove(heapq.heappop(kept)[0])
            total -= largest
    if total < byte_count:
        raise ValueError(
            f"the {split} split of {corpus.name} has {total:,} bytes in documents cut at {DOCUMENT_BYTES:,}, "
            f"held_out asks for {byte_count:,}; lower held_out.bytes or {corpus.more}"
        )
    *whole, last = [text for _, text in sorted(kept, reverse=True)]
    rest = _cut(last, byte_count - sum(len(text.encode()) for text in whole))
    return [*whole, rest] if rest else whole


def _cut(text: str, byte_count: int) -> str:
    return text.encode()[:byte_count].decode(errors="ignore")
