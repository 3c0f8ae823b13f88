"""Fingerprints of weight files that were hashed before, by any process of this machine.

Hashing runs at about 1 GB/s a core, several times slower than reading. As git, make and DVC do, a file is taken to be
what it was when nothing that the file system says of it has changed: device, inode, size, and the times of the last
change of its content and of anything of it (mtime, and ctime, which no program can set).
"""

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from pliant.records.identity import digest
from pliant.records.places import cache_folder

State = tuple[tuple[int, int, int, int, int], ...]
"""Device, inode, size, and times of the last change of content and of anything, in ns, of each file."""

WORTH_BYTES = 1_000_000
"""Hashing less than this takes no longer than remembering it."""
_TICK_NANOSECONDS = 100_000_000
"""File systems note changes in ticks of up to some 10 ms: of two writes within one, the second leaves no trace."""
_in_this_process: dict[tuple[str, State], str] = {}


def state_of(files: list[Path]) -> State:
    """What the file system says of `files`."""
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in map(Path.stat, files))


def remembered(kind: str, state: State, hashed: Callable[[], str]) -> str:
    """The SHA-256 in hex, of this `kind`, of the files in `state`: known from before, else `hashed()`, which is then
    remembered unless the files are so new that a further change could leave no trace."""
    if max((max(written, changed) for *_, written, changed in state), default=0) + _TICK_NANOSECONDS >= time.time_ns():
        return hashed()
    if (kind, state) not in _in_this_process:
        large = sum(size for _, _, size, *_ in state) >= WORTH_BYTES
        _in_this_process[kind, state] = _on_disk(kind, state, hashed) if large else hashed()
    return _in_this_process[kind, state]


def _on_disk(kind: str, state: State, hashed: Callable[[], str]) -> str:
    place = cache_folder() / "fingerprints" / digest([kind, repr(state)], length=32)
    with contextlib.suppress(OSError):
        known = place.read_text(encoding="ascii", errors="replace")
        if re.fullmatch("[0-9a-f]{64}", known):  # else the writer was killed, or is at it
            return known
    found = hashed()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(found, encoding="ascii")
    return found
