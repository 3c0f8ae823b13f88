"""The study folder as a database: one JSON file a record, written by atomic rename."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.compacted import COMPACTED, compacted
from pliant.execution.writing import Write, insisting, write_atomically
from pliant.records.identity import SCHEMA_VERSION, Json
from pliant.records.outside import clipped, is_plain_name, parse_json
from pliant.records.parts import doomed_name, writer_of
from pliant.records.record import Record, checked_record, is_whole, record_text

RUN_FILE = "run.json"
_RUN = "run"
_TAIL = 256
_WEIGHTS = re.compile(rb',"weights":"([0-9A-Za-z:]+)"}\n\Z')
"""How canonical JSON ends a record: no key of it comes later in the alphabet."""


class StoreError(ValueError):
    """A study folder, or a file in it, is not what it should be."""


def remove_folder(folder: Path) -> None:
    """Delete `folder` so that no half of it is ever taken for the whole, neither after a kill nor by its writer."""
    doomed = folder.with_name(doomed_name())
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

    def stamp(self, cell: str, evaluation: str) -> tuple[int, int] | None:
        """When the file that holds a record was changed last, in ns, and its bytes; None where there is none."""
        try:
            found = os.stat(f"{self.folder}/records/{cell}/{evaluation}.json")
        except OSError:
            try:
                found = os.stat(f"{self.folder}/{COMPACTED}")
            except OSError:
                return None
        return found.st_mtime_ns, found.st_size

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
        through(self.path(cell, evaluation), record_text(record) + "\n")

    def read(self, cell: str, evaluation: str) -> dict[str, Any]:
        """The record as parsed JSON.

        Raises:
            StoreError: the file is not a record that this release can read, or not as it was written.
        """
        return self.parsed(self._text(cell, evaluation), f"{self.folder}/records/{cell}/{evaluation}.json")

    def _text(self, cell: str, evaluation: str, last: int | None = None) -> bytes:
        """What the file of a record holds, in either form; its `last` bytes alone, where these are asked for.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = f"{self.folder}/records/{cell}/{evaluation}.json"
        try:
            return insisting(lambda: _bytes_of(path, last))
        except OSError as error:
            whole = compacted(self.folder)
            text = whole.text(cell, evaluation) if whole is not None else None
            if text is None:
                raise StoreError(f"{path} cannot be read ({error.strerror}); make it readable: chmod u+r") from error
            return text.encode()[-(last or 0) :]

    def parsed(self, text: bytes, path: str | Path) -> dict[str, Any]:
        """The record in `text`, which lies at `path`.

        Raises:
            StoreError: it is not a record that this release can read, or not as it was written.
        """
        try:
            record = checked_record(text.decode())
        except ValueError as error:
            raise StoreError(
                f"{path} is not a record that can be trusted ({error}); `pliant fsck {self.folder} --repair` moves it "
                "aside, and `pliant run` then measures it again"
            ) from error
        if int(record["schema"]) > SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema {record['schema']}, this release reads up to {SCHEMA_VERSION}; upgrade pliant"
            )
        return record

    def check(self, cell: str, evaluation: str) -> None:
        """Make sure that the record can be read, without reading it where its checksum tells.

        Raises:
            StoreError: it cannot.
        """
        if not is_whole(self._text(cell, evaluation)):
            self.read(cell, evaluation)  # which tells why not

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
        """What is known of how the cell went; nothing where the file is missing or half written."""
        try:
            run = parse_json(self._text(cell, _RUN))
        except (StoreError, ValueError):
            return {}
        return run if isinstance(run, dict) else {}

    def cells(self) -> Iterator[str]:
        yield from sorted(self.listing())

    def supersede(self, weights: str, cells: list[str]) -> Path:
        """Move the records of `cells`, measured on weights `weights`, out of the way; return their new folder.

        Raises:
            StoreError: they are compacted, or `weights` is no name.
        """
        whole = compacted(self.folder)
        if whole is not None and any(cell in whole.names for cell in cells):
            raise StoreError(
                f"{self.folder} has its records in {COMPACTED}, from which none is taken out; give "
                f"`pliant compact {self.folder} --undo` first"
            )
        name = weights.removeprefix("sha256:")[:16]
        if not is_plain_name(name):
            raise StoreError(f"a record in {self.folder} was measured on the weights {clipped(weights)}; delete it")
        shelf = self.folder / "superseded" / name
        shelf.mkdir(parents=True, exist_ok=True)
        for cell in cells:
            source = self.records / cell
            if source.is_dir():
                os.replace(source, _free_name(shelf / cell))
        return shelf

    def leftovers(self) -> list[Path]:
        """Files and folders that are not finished: what kills left, and what is being written now."""
        found = [*self.folder.glob(".part-*"), *self.folder.glob("artifacts/**/.part-*")]
        for cell in _names(f"{self.folder}/records"):  # glob takes five times as long
            names = _names(f"{self.folder}/records/{cell}")
            found += [self.records / cell / name for name in names if name.startswith(".part-")]
        return found

    def sweep_leftovers(self) -> int:
        """Delete what runs that were killed left unfinished; return how much there was.

        What another runner is writing stays, as does what was left on another machine: `pliant fsck --repair`.
        """
        return sweep(path for path in self.leftovers() if writer_of(path.name) == "gone")

    def set_aside(self, path: Path) -> Path:
        """Move `path`, of this folder, to the same place below `superseded/damaged`; return where it is now."""
        shelf = self.folder / "superseded" / "damaged" / path.relative_to(self.folder)
        shelf.parent.mkdir(parents=True, exist_ok=True)
        there = _free_name(shelf)
        insisting(lambda: os.replace(path, there))
        return there


def sweep(leftovers: Iterable[Path]) -> int:
    """Delete `leftovers`; return how many there were."""
    number = 0
    for path in leftovers:
        number += 1
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError):  # another runner finished or swept it just now
            remove_folder(path)
    return number


def _bytes_of(path: str, last: int | None) -> bytes:
    with open(path, "rb", buffering=0) as file:
        if last is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read()


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
