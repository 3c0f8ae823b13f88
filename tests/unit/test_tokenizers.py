"""Bytes are bytes, the Markov alphabet is itself, and what is saved opens again with transformers."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pliant.data.tokenizers import MARKOV_ALPHABET, TokenizerError, byte_symbols, open_tokenizer

few = settings(max_examples=60, deadline=None)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@functools.cache
def reopened(name):
    """The tokenizer that transformers opens from the files that pliant saves."""
    with tempfile.TemporaryDirectory() as folder:
        open_tokenizer(name).save(Path(folder))
        return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, text):
    return next(iter(tokenizer.encode([text]))).tolist()


@few
@given(texts)
def test_the_byte_tokenizer_gives_the_bytes_and_so_does_its_saved_copy(text):
    expected = list(text.encode())
    tokenizer = open_tokenizer("bytes")
    assert encode(tokenizer, text) == expected
    assert reopened("bytes").encode(text, add_special_tokens=False) == expected
    assert reopened("bytes").decode(expected) == text


def test_every_byte_has_a_symbol_of_its_own():
    assert len(set(byte_symbols())) == 256
    assert byte_symbols()[ord("a")] == "a"
    assert byte_symbols()[ord(" ")] == "Ġ"  # as GPT-2 writes it


def test_byte_tokenizer_facts():
    tokenizer = open_tokenizer("bytes")
    assert tokenizer.vocabulary_size == 256
    assert tokenizer.separator == tuple(b"\n\n")


@few
@given(st.lists(st.integers(0, 63), max_size=50))
def test_the_markov_tokenizer_round_trips(ids):
    text = "".join(MARKOV_ALPHABET[index] for index in ids)
    assert encode(open_tokenizer("markov"), text) == ids
    assert reopened("markov").encode(text, add_special_tokens=False) == ids
    assert reopened("markov").decode(ids) == text


def test_fingerprints_tell_tokenizers_apart(tmp_path):
    names = ["bytes", "markov"]
    found = {open_tokenizer(name).fingerprint for name in names}
    assert len(found) == 2
    assert found == {open_tokenizer(name).fingerprint for name in names}
    open_tokenizer("bytes").save(tmp_path)
    assert open_tokenizer(str(tmp_path)).fingerprint == open_tokenizer("bytes").fingerprint


def words(folder, vocabulary, **special):
    backend = Backend(WordLevel(vocab=vocabulary, unk_token="?"))
    backend.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    return open_tokenizer(str(folder))


def test_a_tokenizer_by_path(tmp_path):
    tokenizer = words(tmp_path, {"?": 0, "the": 1, "end": 2, "</s>": 3}, eos_token="</s>")
    assert encode(tokenizer, "the unknown end") == [1, 0, 2]
    assert tokenizer.separator == (3,)
    assert tokenizer.vocabulary_size == 4


def test_gaps_in_a_vocabulary_count(tmp_path):
    # The size decides the type that ids are stored in: 300 must not be stored as 44.
    tokenizer = words(tmp_path, {"?": 0, "far": 300})
    assert encode(tokenizer, "far") == [300]
    assert tokenizer.vocabulary_size == 301


def test_many_texts_come_back_in_order():
    tokenizer = open_tokenizer("markov")
    found = list(tokenizer.encode(MARKOV_ALPHABET[index % 64] * (index % 3 + 1) for index in range(600)))
    assert [ids.tolist() for ids in found] == [[index % 64] * (index % 3 + 1) for index in range(600)]
    assert all(ids.dtype == np.int64 for ids in found)


def test_nothing_opens_by_that_name(tmp_path):
    with pytest.raises(
        TokenizerError, match=r"no tokenizer opens at .*; give 'bytes', a folder with tokenizer.json"
    ) as it:
        open_tokenizer(str(tmp_path / "nowhere"))
    assert "\n" not in str(it.value)
    with pytest.raises(TokenizerError, match="no tokenizer opens at"):
        open_tokenizer(str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": 3}', '{"added_tokens": [], "model": 3}'])
def test_a_damaged_tokenizer_file(tmp_path, content):
    open_tokenizer("bytes").save(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match="no tokenizer opens at") as raised:
        open_tokenizer(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "GPTSw3Tokenizer"])
def test_a_sentencepiece_model_that_cannot_be_converted(tmp_path, kind):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer_config.json").write_text(f'{{"tokenizer_class": "{kind}"}}')
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00")
    with pytest.raises(TokenizerError, match=r"comes as tokenizer\.model without tokenizer\.json") as raised:
        open_tokenizer(str(tmp_path))
    assert "pip install sentencepiece protobuf" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("template", "beginning"),
    [(None, ()), ("<s> $A", (2,)), ("<s> $A </s>", (2,)), ("$A </s>", ()), ("<s> <s> $A", (2, 2))],
)
def test_the_beginning_is_what_the_default_encoding_puts_first(tmp_path, template, beginning):
    backend = Backend(WordLevel(vocab={"?": 0, "sea": 1, "<s>": 2, "</s>": 3}, unk_token="?"))
    backend.pre_tokenizer = Whitespace()
    if template:
        backend.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 2), ("</s>", 3)])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    tokenizer = open_tokenizer(str(tmp_path))
    assert tokenizer.beginning == beginning
    assert tuple(AutoTokenizer.from_pretrained(tmp_path)("sea").input_ids[: len(beginning)]) == beginning
    assert encode(tokenizer, "sea") == [1]


def test_bytes_and_the_markov_alphabet_begin_with_nothing():
    assert open_tokenizer("bytes").beginning == ()
    assert open_tokenizer("markov").beginning == ()
