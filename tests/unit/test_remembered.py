"""Fingerprints remembered from one process to the next are those that hashing gives, or are hashed anew."""

import hashlib
import os
from pathlib import Path

import pytest
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

import tiny
from pliant.checkpoints import remembered
from pliant.checkpoints.remembered import state_of
from pliant.checkpoints.weights import canonical_tensors, modules_of, stored_fingerprint


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which every file counts as large and as written long ago."""
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "WORTH_BYTES", 0)
    monkeypatch.setattr(remembered, "_TICK_NANOSECONDS", -(10**9))
    monkeypatch.setattr(remembered, "_in_this_process", {})
    return tmp_path / "cache" / "fingerprints"


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_in_this_process", {})


def known(file: Path) -> str:
    return remembered.remembered("file", state_of([file]), lambda: hashlib.sha256(file.read_bytes()).hexdigest())


def not_again() -> str:
    raise AssertionError("hashed again")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"first")
    return tmp_path / "weights"


def test_another_process_does_not_hash_again(cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = known(file)
    another_process(monkeypatch)
    assert remembered.remembered("file", state_of([file]), not_again) == first == hashlib.sha256(b"first").hexdigest()
    with pytest.raises(AssertionError, match="hashed again"):
        remembered.remembered("other kind", state_of([file]), not_again)


def test_other_content_of_the_same_size_and_time_is_hashed(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, first = file.stat(), known(file)
    file.write_bytes(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    another_process(monkeypatch)
    assert known(file) == hashlib.sha256(b"other").hexdigest() != first


@pytest.mark.parametrize("left", ["", "0" * 63, "\0" * 64, "é" * 64])
def test_what_a_killed_writer_left_is_hashed_anew(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    first = known(file)
    (entry,) = cache.iterdir()
    entry.write_text(left, encoding="utf-8")
    another_process(monkeypatch)
    assert known(file) == first == entry.read_text()


def test_without_a_cache_to_write_to_it_is_hashed(cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.write_text("a file where the folder would be")
    assert known(file) == hashlib.sha256(b"first").hexdigest()


def test_small_files_are_not_worth_an_entry(cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "WORTH_BYTES", 6)
    known(file)
    assert not cache.exists()


def test_a_checkpoint_is_known_by_the_same_fingerprint(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.save(tmp_path / "one")
    first = stored_fingerprint(tmp_path / "one")
    monkeypatch.setattr("pliant.checkpoints.weights._safe_digest", lambda files: not_again())
    another_process(monkeypatch)
    assert stored_fingerprint(tmp_path / "one") == first
    (tmp_path / "one").rename(tmp_path / "two")  # the files are as they were
    assert stored_fingerprint(tmp_path / "two") == first


def test_modules_and_tensors_are_those_of_torch() -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    neox = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, intermediate_size=24, tie_word_embeddings=True))
    for model in (tiny.model(), tiny.model(tied=True), neox):
        assert list(canonical_tensors(model).items()) == list(model.named_parameters())
        named = [(name and f"{name}.", module) for name, module in model.named_modules()]
        assert modules_of(model) == named
