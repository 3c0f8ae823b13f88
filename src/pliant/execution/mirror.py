"""A remote study folder worked on through a local one: fetched before, pushed as it grows; the remote is what counts.

A file that is here and not at the remote was either never pushed, and is, or deleted there, and goes. The journal tells
the two apart: only what was once the same in both places can have been deleted. Where both have a file and differ, or
the journal does not know that they agree, the remote's is taken.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pliant.execution.journal import Journal, Known
from pliant.execution.remote import AT_ONCE, Listener, Remote, Stored, digest_of, quiet
from pliant.execution.remote_names import HIDDEN, LAST, STAGES, folders_of_study, is_fetched, is_weights, safe, stage
from pliant.execution.store import remove_folder
from pliant.execution.writing import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """The folder here of a remote one; `name` tells it from the mirrors that other machines keep of it."""

    remote: Remote
    folder: Path
    name: str

    def pull(self, listener: Listener = quiet) -> None:
        """Make this folder what the remote is, but for what was never pushed and the weights, fetched when needed.

        Raises:
            UserError: the remote cannot be read.
        """
        known = self._journal.read()  # before the listing: what is known was there when that began
        there = safe(self.remote.list())
        here = self._drop(known, there)
        agree = {name for name in here & there.keys() if _agree(known.get(name), there[name])}
        same = {name for name in agree if self._unchanged(name, known[name])}  # of two that differ, the remote's
        wanted = {name: self.folder / name for name in there if name not in same and is_fetched(name)}
        self._fetch(wanted, there, listener)
        after = self._journal.read()
        agreeing = {name: after[name] for name in there.keys() & after.keys() if (self.folder / name).is_file()}
        unlike = {name: Known(stored=stored, same=False) for name, stored in there.items()}
        self._journal.replace(unlike | agreeing)

    def _drop(self, known: Mapping[str, Known], there: Mapping[str, Stored]) -> set[str]:
        """Delete what the remote has not any more, or has otherwise as a folder of weights; the names that stay."""
        here = set(self._files())
        gone = {name for name in here if name not in there and name in known and known[name].same}
        folders = {os.path.dirname(name) for name in gone if is_weights(name) and os.path.basename(name) == LAST}
        for name in here & there.keys():
            folder = os.path.dirname(name)
            if is_weights(name) and not _agree(known.get(name), there[name]) and f"{folder}/{LAST}" in there:
                folders.add(folder)
        for folder in folders:
            remove_folder(self.folder / folder)
        inside = {name for name in here if os.path.dirname(name) in folders}
        for name in gone - inside:
            (self.folder / name).unlink(missing_ok=True)
        return here - gone - inside

    def unpushed(self) -> list[Path]:
        """What is here and was never at the remote."""
        known = self._journal.read()
        return [self.folder / name for name in self._files() if name not in known or not known[name].same]

    def push(self, paths: Iterable[Path], *, anyway: bool = False, listener: Listener = quiet) -> None:
        """Put files, weights before the records that rest on them; what is the same there only `anyway`.

        Raises:
            NotAllowed: no permission to write.
        """
        known = self._journal.read()
        names = {path.relative_to(self.folder).as_posix() for path in paths}
        changed = [name for name in names if anyway or name not in known or not self._unchanged(name, known[name])]
        done = 0
        for number in range(STAGES):
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="push") as pool:
                for _ in pool.map(self._put, [name for name in changed if stage(name) == number]):
                    listener(done := done + 1, len(changed))

    def _unchanged(self, name: str, known: Known) -> bool:
        """Whether a file is what it was when it was the same in both places."""
        return known.same and (not known.digest or known.digest == digest_of((self.folder / name).read_bytes()))

    def _put(self, name: str) -> None:
        place = self.folder / name
        stored = self.remote.put_file(name, place) if is_weights(name) else self.remote.put(name, place.read_bytes())
        self._journal.add({name: self._known(name, stored)})

    def _known(self, name: str, stored: Stored) -> Known:
        """`name` as it is now, here and there. Records never change, so that nothing is asked of their content."""
        compared = not is_weights(name) and "records" not in name.split("/")
        return Known(stored=stored, same=True, digest=digest_of((self.folder / name).read_bytes()) if compared else "")

    def write(self, path: Path, text: str, *, lasting: bool = True) -> None:
        """Write a file here and at the remote; it is there when this returns."""
        write_atomically(path, text, lasting=lasting)
        self._put(path.relative_to(self.folder).as_posix())

    def fetch(self, below: Path, wanted: Callable[[Path], bool]) -> None:
        """Fetch the files below a folder that are `wanted` and not here: another machine's, since the pull."""
        there = safe(self.remote.list(below.relative_to(self.folder).as_posix()))
        places = {name: self.folder / name for name in there}
        self._fetch({name: place for name, place in places.items() if wanted(place) and not place.exists()}, there)

    def _fetch(self, places: Mapping[str, Path], there: Mapping[str, Stored], listener: Listener = quiet) -> None:
        for name in self.remote.fetch(places, listener):
            self._journal.add({name: self._known(name, there[name])})

    def fetch_folder(self, folder: Path) -> None:
        """Fetch a folder of weights, whole, or what it lacks here, where the remote has it whole."""
        below = folder.relative_to(self.folder).as_posix()
        there = safe(self.remote.list(below))
        if f"{below}/{LAST}" not in there:
            return
        if folder.is_dir():
            self._fetch({name: self.folder / name for name in there if not (self.folder / name).exists()}, there)
            return
        from pliant.checkpoints.folder import whole_folder  # with it comes torch, which no report needs

        with whole_folder(folder) as part:
            fetched = list(self.remote.fetch({name: part / name.removeprefix(f"{below}/") for name in there}))
        self._journal.add({name: self._known(name, there[name]) for name in fetched})

    def push_folder(self, folder: Path) -> None:
        """Put a folder of weights; it counts as there once its last file is."""
        self.push(path for path in folder.rglob("*") if path.is_file())

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files and folders at the remote; here they are left to the caller.

        Raises:
            NotAllowed: no permission to write.
        """
        roots = [path.relative_to(self.folder).as_posix() for path in paths]
        names = [n for n in self._journal.read() if any(n == root or n.startswith(f"{root}/") for root in roots)]
        self.remote.delete(names)
        self._journal.add(dict.fromkeys(names))

    def holds(self) -> Callable[[Path], bool]:
        """Whether a file, or a folder of weights, is here, or at the remote as far as the last pull knows."""
        known = self._journal.read()

        def there(path: Path) -> bool:
            name = path.relative_to(self.folder).as_posix()
            return name in known or f"{name}/{LAST}" in known

        return lambda path: path.exists() or there(path)

    def sizes(self, below: Path) -> dict[Path, int]:
        """Bytes of each file below a folder that is at the remote only."""
        places = {self.folder / name: one.stored.size for name, one in self._journal.read().items()}
        return {path: size for path, size in places.items() if path.is_relative_to(below) and not path.exists()}

    def shown(self, path: Path) -> str:
        """The URL of what lies at `path` here."""
        return self.remote.at("" if path == self.folder else path.relative_to(self.folder).as_posix())

    @property
    def _journal(self) -> Journal:
        return Journal(self.folder / HIDDEN / "known.jsonl")

    def _files(self) -> Iterator[str]:
        """The names of what belongs to the study: no parts of files, and no snapshots of training that goes on."""
        start = len(str(self.folder)) + 1
        for place, folders, names in os.walk(self.folder):
            inside = place[start:]
            folders[:] = folders_of_study(inside, folders)
            yield from (f"{inside}/{name}" if inside else name for name in names if not name.startswith("."))


def _agree(known: Known | None, stored: Stored) -> bool:
    return known is not None and known.same and known.stored == stored
