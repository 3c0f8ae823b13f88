"""Kinds of folders that a study may lie in, as good as one machine can make them."""

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pliant.execution import writing

Place = Callable[[Path, pytest.MonkeyPatch], Path]
"""Makes an empty folder of its kind below a given one; what it patches lasts for the test."""


def local(place: Path, _: pytest.MonkeyPatch) -> Path:
    """A folder of a local disk."""
    return place


def file_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as NFS shows it: no locks, no mapped files; every third rename, and the first reading of each record,
    plan or study file, fails once with what a server answers while it restarts; a new file is not seen at first look.
    """
    monkeypatch.setattr(writing, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    for owner, name in ((fcntl, "flock"), (fcntl, "lockf"), (mmap, "mmap")):
        monkeypatch.setattr(owner, name, _refusing)
    renames, read, seen = [0], set[str](), set[str]()

    def rename(old: Any, new: Any, real: Callable[..., None] = os.replace) -> None:
        renames[0] += 1
        if renames[0] % 3 == 0 and os.path.isfile(old):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        real(old, new)

    def text(path: Path, *given: Any, real: Callable[..., str] = Path.read_text, **named: Any) -> str:
        if (path.parent == place or place / "records" in path.parents) and str(path) not in read:
            read.add(str(path))
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(path, *given, **named)

    def late(path: Any, real: Callable[[Any], bool] = os.path.isfile) -> bool:
        if str(path).startswith(f"{place}/") and "/records/" in str(path) and real(path) and str(path) not in seen:
            seen.add(str(path))
            return False
        return real(path)

    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(Path, "read_text", text)
    monkeypatch.setattr(os.path, "isfile", late)
    return place


def _refusing(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


PLACES: dict[str, Place] = {"local": local, "file server": file_server}
