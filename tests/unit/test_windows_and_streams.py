"""Packed text and the windows cut from it: every token once an epoch, one order for all budgets."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.data.corpora import Corpus, Document
from pliant.data.streams import pack
from pliant.data.tokenizers import open_tokenizer
from pliant.data.windows import ShuffledStream
from pliant.records.places import cache_folder

few = settings(max_examples=40, deadline=None)


def stream(tokens=101, context=10, seed=0):
    # Every token is its own position, so a window tells where it was cut.
    return ShuffledStream(tokens=np.arange(tokens), fingerprint="sha256:test", context=context, seed=seed)


# windows


@few
@given(tokens=st.integers(2, 300), context=st.integers(1, 30), seed=st.integers(0, 2**31), epoch=st.integers(0, 3))
def test_every_token_is_predicted_once_an_epoch(tokens, context, seed, epoch):
    context = min(context, tokens - 1)
    source = stream(tokens, context, seed)
    count = source.windows_per_epoch
    windows = source.windows(epoch * count, (epoch + 1) * count)
    assert windows.shape == (count, context + 1)
    assert (np.diff(windows, axis=1) == 1).all()
    assert sorted(windows[:, 1:].ravel()) == list(range(1, count * context + 1))
    assert tokens - 1 - count * context < context  # only a last part of a window is never predicted


@few
@given(small=st.integers(1, 40), large=st.integers(1, 40), seed=st.integers(0, 9))
def test_a_larger_budget_reads_a_longer_prefix(small, large, seed):
    small, large = sorted((small, large))
    source = stream(seed=seed)
    np.testing.assert_array_equal(source.windows(0, small), source.windows(0, large)[:small])


@few
@given(start=st.integers(0, 35), length=st.integers(1, 30), cut=st.integers(0, 30))
def test_windows_do_not_depend_on_how_they_are_asked_for(start, length, cut):
    source, cut = stream(), min(cut, length)
    parts = [source.windows(start, start + cut)] if cut else []
    parts += [source.windows(start + cut, start + length)] if cut < length else []
    np.testing.assert_array_equal(source.windows(start, start + length), np.concatenate(parts))


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [tuple(stream(seed=seed).windows(first, first + 10)[:, 0]) for seed in (0, 1) for first in (0, 10, 20)]
    assert len(set(orders)) == len(orders)


def test_an_order_looks_shuffled():
    order = stream(tokens=10_001).windows(0, 1000)[:, 0]
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 4.5 / np.sqrt(1000)


# streams


def corpus(fingerprint="sha256:corpus", texts=("naïve", "two words", "x")):
    documents = [Document(title="t", text=text, split="train", source="s", year=None) for text in texts]
    documents.append(Document(title="t", text="held out", split="test", source="s", year=None))
    reads = Counter()

    def read():
        reads["times"] += 1
        return iter(documents)

    return Corpus(name="made", fingerprint=fingerprint, read=read), reads


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_packed_bytes_by_hand(cache):
    packed = pack(corpus()[0], "train", open_tokenizer("bytes"))
    expected = "naïve\n\ntwo words\n\nx\n\n".encode()
    assert packed.tokens.dtype == np.uint8
    assert packed.tokens.tobytes() == expected
    assert packed.byte_count == len(expected)
    assert packed.bytes_per_token == 1.0


def test_packed_once(cache):
    made, reads = corpus()
    first = pack(made, "train", open_tokenizer("bytes"))
    again = pack(made, "train", open_tokenizer("bytes"))
    assert reads["times"] == 1
    assert first.fingerprint == again.fingerprint
    assert first.byte_count == again.byte_count
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert isinstance(again.tokens, np.memmap)
    assert not again.tokens.flags.writeable


def test_another_cache_gives_the_same_stream(cache, tmp_path, monkeypatch):
    made, reads = corpus()
    first = pack(made, "train", open_tokenizer("bytes"))
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "other"))
    second = pack(made, "train", open_tokenizer("bytes"))
    assert reads["times"] == 2
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_corpus_split_and_tokenizer_are_part_of_the_fingerprint(cache):
    made = [
        pack(corpus()[0], "train", open_tokenizer("bytes")),
        pack(corpus()[0], "test", open_tokenizer("bytes")),
        pack(corpus("sha256:other")[0], "train", open_tokenizer("bytes")),
        pack(corpus(texts=("AB", "C"))[0], "train", open_tokenizer("markov")),
    ]
    assert len({packed.fingerprint for packed in made}) == 4
    assert len(list((cache / "streams").iterdir())) == 4


def test_the_cache_is_where_it_is_said_to_be(cache, monkeypatch, tmp_path):
    assert cache_folder() == cache
    pack(corpus()[0], "train", open_tokenizer("bytes"))
    (folder,) = (cache / "streams").iterdir()
    assert json.loads((folder / "stream.json").read_text())["corpus"] == "made"
    monkeypatch.delenv("PLIANT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "pliant"


def test_a_pass_that_failed_leaves_nothing_and_can_be_repeated(cache):
    made, _ = corpus()

    def broken():
        yield from made.read()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(Corpus(name="made", fingerprint=made.fingerprint, read=broken), "train", open_tokenizer("bytes"))
    assert list((cache / "streams").iterdir()) == []
    assert len(pack(made, "train", open_tokenizer("bytes")).tokens) == 22
