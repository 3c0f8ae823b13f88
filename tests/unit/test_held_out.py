"""What is scored, after what, and how many bytes it stands for: the same bytes for every tokenizer by documents."""

import math
import tempfile
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteFallback, Fuse, Replace, Sequence, Strip
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from pliant.data.corpora import Corpus, Document
from pliant.data.held_out import (
    BLOCK_BYTES,
    DOCUMENT_BYTES,
    choose_documents,
    held_out_documents,
    held_out_windows,
)
from pliant.data.streams import pack
from pliant.data.tasks import IGNORED
from pliant.data.token_bytes import exact_token_bytes
from pliant.data.tokenizers import TokenizerError, open_tokenizer
from pliant.evaluation.losses import loss_measurement

few = settings(max_examples=25, deadline=None)
PLAIN = "the sea is wide and naïve sailors all of them sail over it in ships of wood"
WORDS = [*PLAIN.split(), "–", "é", "ü", "東京"]


def made(count=80, seed=0):
    """Documents of 150 to 4,800 characters."""
    chance = np.random.default_rng(seed)
    lengths = np.geomspace(30, 900, count).astype(int)
    return [f"{number}: " + " ".join(chance.choice(WORDS, length)) for number, length in enumerate(lengths)]


def corpus(texts, fingerprint="sha256:made"):
    documents = [Document(title="", text=text, split="test", source="", year=None) for text in texts]
    return Corpus(name="made", fingerprint=fingerprint, read=lambda: iter(documents))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))


@cache
def tokenizer(kind):
    """`bytes`, or one trained on the documents: `bpe` (GPT-2's kind), `bos` (the same, which begins texts with <s>),
    `pieces` (Llama's kind, with byte fallback, which begins texts with a blank and <s>), `words` (drops blanks)."""
    if kind == "bytes":
        return open_tokenizer("bytes")
    backend = _words() if kind == "words" else _pieces() if kind == "pieces" else _bpe()
    if kind in ("bos", "pieces"):
        start = backend.token_to_id("<s>")
        backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>").save_pretrained(folder)
        return open_tokenizer(folder)


def _bpe():
    backend = Backend(BPE())
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    special = ["<s>", "</s>"]
    alphabet = ByteLevel.alphabet()
    backend.train_from_iterator(
        made(), BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    return backend


def _pieces():
    backend = Backend(BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = Metaspace(prepend_scheme="first", split=False)
    backend.decoder = Sequence([Replace("▁", " "), ByteFallback(), Fuse(), Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    plain = [text.replace("東京", "").replace("ü", "") for text in made()]  # those two fall back to bytes
    backend.train_from_iterator(plain, BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False))
    return backend


def _words():
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *sorted(set(WORDS))])}
    backend = Backend(WordLevel(vocab=vocabulary, unk_token="<unk>"))
    backend.normalizer, backend.pre_tokenizer = Lowercase(), Whitespace()
    return backend


KINDS = ["bytes", "bpe", "bos", "pieces"]


def size_of(texts):
    return sum(len(text.encode()) for text in texts)


def documents_of(kind, texts, context=48, outside=True):
    opened = tokenizer(kind)
    return held_out_documents(texts, opened, context=context, beginning=opened.beginning if outside else ())


# Documents.


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_of_a_document_is_scored_once_in_order(kind):
    texts = choose_documents(corpus(made()), "test", 40_000)
    rows = documents_of(kind, texts).rows
    expected = np.concatenate(list(tokenizer(kind).encode(texts)))
    assert rows.targets[rows.targets != IGNORED].tolist() == expected.tolist()
    assert rows.inputs.shape == rows.targets.shape
    assert rows.inputs.shape[1] == 48


@pytest.mark.parametrize(("kind", "first"), [("bytes", ord("\n")), ("bpe", 1), ("bos", 0), ("pieces", 1)])
def test_what_comes_before_a_token(kind, first):
    rows = documents_of(kind, ["The sea is wide. " * 40]).rows
    ids = next(iter(tokenizer(kind).encode(["The sea is wide. " * 40]))).tolist()
    assert rows.inputs[0, 0] == first  # the blank line's end, </s>, or <s>
    assert rows.inputs[0, 1:].tolist() == ids[:47]
    assert rows.inputs[1, 0] == (first if kind in ("bos", "pieces") else ids[47])
    assert rows.inputs[1, 1 : 1 + len(ids[48:95])].tolist() == ids[48:95]


def test_uniform_logits_cost_what_the_formula_says_in_bits_per_byte():
    """-log2(1/V) bits a token, n tokens, B bytes: n log2(V) / B, whatever the tokenizer."""
    texts = choose_documents(corpus(made()), "test", 40_000)
    blocks = []
    for kind in KINDS:
        opened, held = tokenizer(kind), documents_of(kind, texts)
        size = opened.vocabulary_size
        found = loss_measurement(
            SimpleNamespace(parameters=lambda: iter([torch.zeros(1)])),
            held.rows,
            forward=lambda model, inputs, size=size: torch.zeros(*inputs.shape, size),
            name="test",
            batch_tokens=1000,
            draw=None,
            sign=None,
        )
        tokens = sum(len(ids) for ids in opened.encode(texts))
        assert sum(found.count) == tokens
        bits_per_byte = found.value / math.log(2) / held.bytes_per_token
        assert bits_per_byte == pytest.approx(tokens * math.log2(size) / size_of(texts), rel=1e-6)
        blocks.append(_texts_of_blocks(found.count, opened, texts))
    assert all(found == blocks[0] for found in blocks)
    assert len(blocks[0]) > 10
    assert all(size_of(block) >= BLOCK_BYTES for block in blocks[0][:-1])


def _texts_of_blocks(count, opened, texts):
    """The documents whose tokens add up to each count."""
    sizes = iter(zip(texts, (len(ids) for ids in opened.encode(texts)), strict=True))
    found = []
    for number in count:
        block = []
        while number > 0:
            text, size = next(sizes)
            block.append(text)
            number -= size
        assert number == 0
        found.append(block)
    return found


@few
@given(st.permutations(range(80)), st.integers(9_000, 80_000))
def test_the_choice_depends_on_the_text_alone_and_a_larger_one_begins_with_it(order, byte_count):
    texts = made()
    chosen = choose_documents(corpus([texts[index] for index in order] + texts[:5]), "test", byte_count)
    assert chosen == choose_documents(corpus(texts), "test", byte_count)
    assert byte_count - 3 <= size_of(chosen) <= byte_count
    more = choose_documents(corpus(texts), "test", byte_count + 5_000)
    assert more[: len(chosen) - 1] == chosen[:-1]
    assert more[len(chosen) - 1].startswith(chosen[-1])


def test_a_long_document_is_cut_and_too_little_text_is_refused():
    chosen = choose_documents(corpus(["é" * 50_000, "x" * 5_000]), "test", 8_192)
    assert sorted(map(len, chosen)) == [DOCUMENT_BYTES // 2, DOCUMENT_BYTES]
    with pytest.raises(ValueError, match=r"the test split of made has 8,192 bytes .* held_out asks for 9,000; lower"):
        choose_documents(corpus(["é" * 50_000, "x" * 5_000]), "test", 9_000)


def test_text_tokenizer_context_and_beginning_are_part_of_the_fingerprint():
    texts = made(5)
    found = [
        documents_of("bytes", texts),
        documents_of("bpe", texts),
        documents_of("bos", texts),
        documents_of("bos", texts, outside=False),
        documents_of("bpe", texts, context=40),
        documents_of("bpe", texts[1:]),
    ]
    assert len({held.fingerprint for held in found}) == 6
    assert documents_of("bpe", texts).fingerprint == found[1].fingerprint


def test_a_tokenizer_with_nothing_to_put_before_a_document():
    with pytest.raises(TokenizerError, match="no token to put before a document"):
        held_out_documents(["AB"], _without_separator(), context=8, beginning=())


def _without_separator():
    return replace(tokenizer("bpe"), separator=())


# Windows.


def windows(kind, beginning=(), tokens=48 * 30, text=None):
    return held_out_windows(
        text or corpus(made()), "test", tokenizer(kind), context=48, tokens=tokens, beginning=beginning
    )


def test_a_beginning_takes_the_place_of_the_first_token_and_nothing_else():
    plain, begun = windows("bos"), windows("bos", (0,))
    np.testing.assert_array_equal(plain.rows.targets, begun.rows.targets)
    np.testing.assert_array_equal(plain.rows.inputs[:, 1:], begun.rows.inputs[:, 1:])
    assert (begun.rows.inputs[:, 0] == 0).all()
    assert not (plain.rows.inputs[:, 0] == 0).any()
    assert plain.fingerprint != begun.fingerprint
    assert plain.bytes_per_token == begun.bytes_per_token


def test_a_longer_beginning_leaves_fewer_tokens_to_score():
    begun = windows("bos", (0, 1, 0)).rows
    assert (begun.inputs[:, :3] == [0, 1, 0]).all()
    assert (begun.targets[:, :2] == IGNORED).all()
    np.testing.assert_array_equal(begun.targets[:, 2:], windows("bos").rows.targets[:, 2:])


@pytest.mark.parametrize("kind", ["bytes", "bpe", "bos", "pieces"])
def test_bytes_are_those_of_exactly_the_scored_tokens(kind):
    """A corpus of one window: the scored tokens are all but the first and the last separator's rest."""
    text = "the sea – é ü 東京 – is wide " * 9
    opened = tokenizer(kind)
    one = corpus([text], fingerprint=f"sha256:{kind}")
    context = len(pack(one, "test", opened).tokens) - 1
    held = held_out_windows(one, "test", opened, context=context, tokens=context, beginning=())
    assert held.rows.targets.shape == (1, context)
    first = {"bytes": 1, "bpe": 3, "bos": 3, "pieces": 3}[kind]  # "t", "the", and "▁the" whose blank is invented
    ids = next(iter(opened.encode([text]))).tolist()
    assert opened.backend.decode(ids[:1]).strip() == "the"[:first]
    separator = 2 if kind == "bytes" else 0
    assert held.bytes_per_token * context == pytest.approx(len(text.encode()) - first + separator)


def test_a_tokenizer_that_drops_blanks_gets_the_average_of_the_stream():
    stream = pack(corpus(made()), "test", tokenizer("words"))
    assert exact_token_bytes(tokenizer("words"), stream) is None
    assert windows("words").bytes_per_token == stream.bytes_per_token


def test_too_few_tokens_for_the_windows():
    with pytest.raises(ValueError, match=r"the test split of made has .* tokens, held_out asks for 9,000,000; lower"):
        windows("bytes", tokens=9_000_000)
