"""Files written beside the computation: the disk confirms many at once while the next cell is measured."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, final

from pliant.execution.writing import Write, write_atomically

WRITERS = 8
"""A disk confirms one write in milliseconds and eight of different files in hardly more: 2.5 against 0.2 ms each."""
WAITING = 32
"""No more cells wait with their files than this: what a kill can lose, and what is held in memory."""
_File = tuple[Path, str, bool]
"""Path, text, and whether the disk must confirm it."""


@final
class WriteBehind:
    """Writes texts to files by `write`, each whole or not at all, in threads of its own; on leaving, all are there."""

    def __init__(self, write: Write = write_atomically) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)
        while self._waiting and error is None:
            self._waiting.popleft().result()

    def __call__(self, path: Path, text: str, *, lasting: bool = True) -> None:
        """Take `text` for `path`, and return before it is there.

        Raises:
            OSError: an earlier one could not be written.
        """
        self._take([(path, text, lasting)])

    @contextmanager
    def together(self) -> Iterator[Write]:
        """Within, the files that are written are gathered; they are taken at its end, for one thread to write.

        Raises:
            OSError: an earlier one could not be written.
        """
        files: list[_File] = []

        def gather(path: Path, text: str, *, lasting: bool = True) -> None:
            files.append((path, text, lasting))

        try:
            yield gather
        finally:
            self._take(files)

    def _take(self, files: Sequence[_File]) -> None:
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= WAITING):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write_each, files))

    def _write_each(self, files: Sequence[_File]) -> None:
        for path, text, lasting in files:
            self._write(path, text, lasting=lasting)
