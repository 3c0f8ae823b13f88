"""Which weights living processes are using: each holds a lock file, which the system frees when it ends."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def at_once(lock: Path) -> Iterator[bool]:
    """Hold `lock` if no living process does; yields whether it is held."""
    mine = FileLock(lock, timeout=0)
    try:
        mine.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        mine.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims of this process below `folder`, and a look at those of others."""

    folder: Path
    _held: dict[str, FileLock] = field(default_factory=dict)

    def take(self, name: str) -> None:
        """Say that this process uses `name` until it drops it or ends."""
        if name in self._held:
            return
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        unseen, seen = (folder / f"{uuid.uuid4().hex}{suffix}" for suffix in (".new", ".lock"))
        lock = FileLock(unseen, thread_local=False)  # taken by the thread that fetches, dropped by another
        lock.acquire()
        os.replace(unseen, seen)  # only now: nobody ever finds it unlocked and takes it for a dead one
        self._held[name] = lock

    def drop(self, name: str) -> None:
        """This process uses `name` no longer."""
        if name in self._held:
            self._held.pop(name).release()

    def held(self, name: str) -> bool:
        """Whether any living process, this one or another, uses `name`. Locks of dead ones are removed."""
        for lock in (self.folder / name).glob("*.lock"):
            with at_once(lock) as dead:
                if not dead:
                    return True
                lock.unlink(missing_ok=True)
        return False
