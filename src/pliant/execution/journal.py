"""What a mirror knows of its remote: the files that were there, and which of them are the same here."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pliant.execution.remote import Stored
from pliant.execution.writing import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A file that was at the remote. `same`: this version was also here; `digest` then names a small one's content."""

    stored: Stored
    same: bool
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """One JSON line a file, the last word counts; null says that it is not at the remote any more.

    A line is written after what it tells has happened, so that a kill leaves a file unknown rather than known wrongly.
    Several processes may add lines at once.
    """

    path: Path

    def read(self) -> dict[str, Known]:
        if not self.path.is_file():
            return {}
        known: dict[str, Known] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                name, version, size, same, digest = json.loads(line)
            except ValueError:  # empty, or half of one where the machine stopped: the file is unknown
                continue
            if version is None:
                known.pop(name, None)
            else:
                known[name] = Known(stored=Stored(version=version, size=size), same=same, digest=digest)
        return known

    def add(self, known: Mapping[str, Known | None]) -> None:
        """Add a line a file; one write, which the system does not mix with others'."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            # a line break before: the last line may be half of one
            os.write(file, ("\n" + "".join(_line(name, one) for name, one in known.items())).encode())
        finally:
            os.close(file)

    def replace(self, known: Mapping[str, Known]) -> None:
        write_atomically(self.path, "".join(_line(name, one) for name, one in known.items()), lasting=False)


def _line(name: str, known: Known | None) -> str:
    if known is None:
        return json.dumps([name, None, 0, False, ""]) + "\n"
    return json.dumps([name, known.stored.version, known.stored.size, known.same, known.digest]) + "\n"
