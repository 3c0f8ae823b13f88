"""Writing a file whole or not at all, on local disks and on file servers that lose a request now and then."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from pliant.execution.engine import UserError
from pliant.records.parts import part_name

T = TypeVar("T")
PASSING = frozenset({errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY})
"""What a file server answers while it restarts, or of a file that another machine has just replaced."""
PAUSES_SECONDS = (0.05, 0.5, 2.0)
"""How long each new try waits."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Write(Protocol):
    """Writes a text to a path, whole or not at all: `write_atomically`, or what does so a little later."""

    def __call__(self, path: Path, text: str, *, lasting: bool = True) -> None: ...


def write_atomically(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write `text` so that a reader, or the next run, sees either the old file or the whole new one.

    Where it is not `lasting` the disk need not confirm it: a machine that loses its power may leave an empty file.

    Raises:
        OSError: the disk is full or not writable; the old file is still there and no part of the new one.
    """
    # a part may be gone: swept by another runner, or renamed by a request whose answer was lost
    insisting(lambda: _write_once(path, text, lasting), also=(errno.ENOENT,))


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        OSError: there is none, or it cannot be read.
        UnicodeDecodeError: it is no text.
    """
    return insisting(lambda: path.read_text(encoding="utf-8"))


def insisting(act: Callable[[], T], also: tuple[int, ...] = ()) -> T:
    """What `act` returns, tried again where it fails with an error that passes.

    Raises:
        OSError: another error, or one that did not pass.
    """
    for pause in PAUSES_SECONDS:
        try:
            return act()
        except OSError as error:
            if error.errno not in PASSING and error.errno not in also:
                raise
        time.sleep(pause)
    return act()


def _write_once(path: Path, text: str, lasting: bool) -> None:
    folder, name = os.path.split(path)
    # mkstemp's would be readable by the owner only
    temporary = os.path.join(folder, part_name(os.path.splitext(name)[1]))
    try:
        file = _created(temporary, folder)
        try:
            rest = memoryview(text.encode())
            while rest:
                rest = rest[os.write(file, rest) :]
            if lasting:
                os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # gone, or no permission any more: what went wrong is the first error
            os.unlink(temporary)
        raise


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
"""How a part is opened: by the system itself, since a Python file costs as much again as writing a record."""


def _created(path: str, folder: str) -> int:
    try:
        return os.open(path, _NEW, 0o666)
    except FileNotFoundError:  # the first of its folder
        _make_folder(folder)
        return os.open(path, _NEW, 0o666)


def _make_folder(folder: str) -> None:
    """`os.makedirs`, which looks at every folder above first: most of what a new cell's costs."""
    try:
        os.mkdir(folder)
    except OSError:  # it is there, or its own folder is not
        os.makedirs(folder, exist_ok=True)


@contextlib.contextmanager
def naming_what_stops_writing(place: Path) -> Iterator[None]:
    """Turn whatever a full disk or a lost permission raises below into one line for the user.

    Raises:
        UserError: nothing can be written; `place` is named where the error names no file.
    """
    try:
        yield
    except Exception as error:
        where = Path(getattr(error, "filename", None) or place)
        where = where.parent if where.name.startswith(".part-") else where
        if _says(error, _FULL):
            what, remedy = "no room left on the disk", "free some"
        elif _says(error, _REFUSED):
            what, remedy = "no permission", "make the folder writable (chmod -R u+rwX), or run as its owner"
        else:
            raise
        raise UserError(
            f"{what} while writing {where}; {remedy} and run the same command again: everything finished is kept"
        ) from error


def _says(error: Exception, numbers: tuple[int, ...]) -> bool:
    """Also where safetensors says so: its error is no OSError and has the number in its text only."""
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(f"(os error {number})" in str(error) for number in numbers)
