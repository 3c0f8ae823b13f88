"""Files written beside the computation: all there at the end, whole or not at all, and a full disk is told."""

import errno
import os
from pathlib import Path

import pytest

from pliant.execution.write_behind import WAITING, WriteBehind
from pliant.execution.writing import write_atomically


def test_all_files_are_there_when_it_is_left(tmp_path: Path):
    texts = {tmp_path / f"{number % 7}" / f"{number}.json": f"{number}\n" * 50 for number in range(3 * WAITING)}
    with WriteBehind() as write:
        for path, text in texts.items():
            write(path, text)
    assert {path: path.read_text() for path in tmp_path.rglob("*.json")} == texts
    assert list(tmp_path.rglob(".part-*")) == []


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), WriteBehind() as write:
        write(tmp_path / "a.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_between_is_told_first_and_what_was_handed_over_is_kept(tmp_path: Path):
    def cell() -> None:
        with WriteBehind() as write:
            write(tmp_path / "a.json", "{}")
            raise ValueError("of the computation")

    with pytest.raises(ValueError, match="of the computation"):
        cell()
    assert (tmp_path / "a.json").read_text() == "{}"


def test_no_more_than_so_many_wait(tmp_path: Path):
    written = []

    def counting(path: Path, text: str, *, lasting: bool) -> None:
        write_atomically(path, text, lasting=lasting)
        written.append(path)

    with WriteBehind(counting) as write:
        for number in range(2 * WAITING):
            write(tmp_path / f"{number}.json", "{}")
            assert number + 1 - len(written) <= WAITING + 1
