"""The study folder as a database: one JSON file a record, written by atomic rename."""

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from pliant.execution.compacted import COMPACTED, compacted
from pliant.execution.engine import UserError
from pliant.records.identity import SCHEMA_VERSION, Json, canonical_json
from pliant.records.record import Record

RUN_FILE = "run.json"
_RUN = "run"
_TAIL = 256
_WEIGHTS = re.compile(rb',"weights":"([0-9A-Za-z:]+)"}\n\Z')
"""How canonical JSON ends a record: no key of it comes later in the alphabet."""


class Write(Protocol):
    """Writes a text to a path, whole or not at all: `write_atomically`, or what does so a little later."""

    def __call__(self, path: Path, text: str, *, lasting: bool = True) -> None: ...


class StoreError(ValueError):
    """A study folder, or a file in it, is not what it should be."""


@contextlib.contextmanager
def naming_a_full_disk(place: Path) -> Iterator[None]:
    """Turn whatever a full disk raises below into one line for the user.

    Raises:
        UserError: the disk is full; `place` is named where the error names no file.
    """
    try:
        yield
    except Exception as error:
        if not _disk_is_full(error):
            raise
        raise UserError(
            f"no room left on the disk while writing {getattr(error, 'filename', None) or place}; "
            "free some and run the same command again: everything finished is kept"
        ) from error


def _disk_is_full(error: Exception) -> bool:
    """Also where safetensors says so: its error is no OSError and has the number in its text only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def write_atomically(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write `text` so that a reader, or the next run, sees either the old file or the whole new one.

    Where it is not `lasting` the disk need not confirm it: a machine that loses its power may leave an empty file.

    Raises:
        OSError: the disk is full or not writable; the old file is still there and no part of the new one.
    """
    folder, name = os.path.split(path)
    # mkstemp's would be readable by the owner only
    temporary = os.path.join(folder, f".part-{uuid.uuid4().hex}{os.path.splitext(name)[1]}")
    try:
        with _created(temporary, folder) as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _created(path: str, folder: str) -> IO[str]:
    try:
        return open(path, "x", encoding="utf-8")
    except FileNotFoundError:  # the first of its folder
        os.makedirs(folder, exist_ok=True)
        return open(path, "x", encoding="utf-8")


def remove_folder(folder: Path) -> None:
    """Delete `folder` so that no half of it is ever taken for the whole, neither after a kill nor by its writer."""
    doomed = folder.with_name(f".part-{uuid.uuid4().hex}")
    os.replace(folder, doomed)
    shutil.rmtree(doomed)


@dataclass(frozen=True, slots=True)
class Store:
    """Records of one study: `records/<cell>/<evaluation>.json` and how each cell went, `run.json`."""

    folder: Path

    @property
    def records(self) -> Path:
        return self.folder / "records"

    def path(self, cell: str, evaluation: str) -> Path:
        return self.records / cell / f"{evaluation}.json"

    def has(self, cell: str, evaluation: str) -> bool:
        if os.path.isfile(f"{self.folder}/records/{cell}/{evaluation}.json"):  # asked thousands of times
            return True
        whole = compacted(self.folder)
        return whole is not None and evaluation in whole.names.get(cell, (0, ()))[1]

    def listing(self) -> dict[str, frozenset[str]]:
        """cell -> the evaluations that it has a record of, in either form, found in one walk."""
        there: dict[str, frozenset[str]] = {}
        known: dict[tuple[str, ...], frozenset[str]] = {}  # most cells have the same ones
        whole = compacted(self.folder)
        for cell, (_, names) in whole.names.items() if whole is not None else ():
            there[cell] = known.setdefault((COMPACTED, *names), frozenset(names) - {_RUN})
        for cell in _names(f"{self.folder}/records"):
            names = tuple(sorted(_names(f"{self.folder}/records/{cell}")))
            if names not in known:
                known[names] = frozenset(n.removesuffix(".json") for n in names if n.endswith(".json")) - {_RUN}
            there[cell] = there[cell] | known[names] if cell in there else known[names]
        return there

    def write(self, cell: str, evaluation: str, record: Record, through: Write = write_atomically) -> None:
        """Write `record`, `through` what writes the file."""
        through(self.path(cell, evaluation), canonical_json(record.to_json()) + "\n")

    def read(self, cell: str, evaluation: str) -> dict[str, Any]:
        """The record as parsed JSON.

        Raises:
            StoreError: the file is not a record that this release can read.
        """
        return self.parsed(self._text(cell, evaluation), self.path(cell, evaluation))

    def _text(self, cell: str, evaluation: str, last: int | None = None) -> bytes:
        """What the file of a record holds, in either form; its `last` bytes alone, where these are asked for.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = f"{self.folder}/records/{cell}/{evaluation}.json"
        try:
            with open(path, "rb", buffering=0) as file:
                if last is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - last))
                return file.read()
        except OSError as error:
            whole = compacted(self.folder)
            text = whole.text(cell, evaluation) if whole is not None else None
            if text is None:
                raise _no_record(Path(path), error) from error
            return text.encode()[-(last or 0) :]

    def parsed(self, text: str | bytes, path: Path) -> dict[str, Any]:
        """The record in `text`, which lies at `path`.

        Raises:
            StoreError: it is not a record that this release can read.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            schema = int(record["schema"])
            record["weights"], record["status"], record["result"]["measurements"]
        except (ValueError, KeyError, TypeError) as error:
            raise _no_record(path, error) from error
        if schema > SCHEMA_VERSION:
            raise StoreError(f"{path} has schema {schema}, this release reads up to {SCHEMA_VERSION}; upgrade pliant")
        return record

    def weights(self, cell: str, evaluation: str) -> str:
        """The fingerprint of the weights that a record was measured on: as a rule its last words, read alone.

        Raises:
            StoreError: the file is not a record that this release can read.
        """
        if told := _WEIGHTS.search(self._text(cell, evaluation, last=_TAIL)):
            return told[1].decode()
        return str(self.read(cell, evaluation)["weights"])

    def write_run(self, cell: str, run: dict[str, Json], through: Write = write_atomically) -> None:
        """How the cell went: times, host, attempts, warnings, error. Never part of identity or result."""
        through(self.records / cell / RUN_FILE, json.dumps(run, sort_keys=True) + "\n", lasting=False)

    def read_run(self, cell: str) -> dict[str, Any]:
        try:
            run: dict[str, Any] = json.loads(self._text(cell, _RUN))
        except (StoreError, json.JSONDecodeError, UnicodeDecodeError):
            return {}
        return run

    def cells(self) -> Iterator[str]:
        yield from sorted(self.listing())

    def supersede(self, weights: str, cells: list[str]) -> Path:
        """Move the records of `cells`, measured on weights `weights`, out of the way; return their new folder.

        Raises:
            StoreError: they are compacted.
        """
        whole = compacted(self.folder)
        if whole is not None and any(cell in whole.names for cell in cells):
            raise StoreError(
                f"{self.folder} has its records in {COMPACTED}, from which none is taken out; give "
                f"`pliant compact {self.folder} --undo` first"
            )
        shelf = self.folder / "superseded" / weights.removeprefix("sha256:")[:16]
        shelf.mkdir(parents=True, exist_ok=True)
        for cell in cells:
            source = self.records / cell
            if source.is_dir():
                os.replace(source, _free_name(shelf / cell))
        return shelf

    def sweep_leftovers(self) -> int:
        """Delete the unfinished files and folders of runs that were killed; return how many there were."""
        leftovers = [*self.folder.glob(".part-*"), *self.folder.glob("artifacts/**/.part-*")]
        for cell in _names(f"{self.folder}/records"):  # glob takes five times as long
            names = _names(f"{self.folder}/records/{cell}")
            leftovers += [self.records / cell / name for name in names if name.startswith(".part-")]
        for path in leftovers:
            if not path.is_dir():
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(FileNotFoundError):  # another runner finished or swept it just now
                remove_folder(path)
        return len(leftovers)


def _no_record(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is not a record ({error}); delete it and run the study again to re-measure it")


def _names(folder: str) -> list[str]:
    """What lies in `folder`; nothing where that is none."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate
