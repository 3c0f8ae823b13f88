"""What is wrong with the files of a study folder: records that cannot be trusted, leftovers, links, permissions."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pliant.execution.compacted import COMPACTED, compacted
from pliant.execution.store import RUN_FILE, Store
from pliant.execution.writing import read_text
from pliant.records.identity import SCHEMA_VERSION, digest
from pliant.records.parts import writer_of
from pliant.records.record import checked_record, place_of

Remedy = Literal["aside", "sweep", "hand"]
"""Repairing moves it aside, or deletes what was never finished; or the user mends it, as `what` says."""

Origin = tuple[Any, ...]
"""The member of a ladder: its recipe, data, seed, tokens, and whether it is annealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as pliant writes it: its kind, where (below the folder), what, and what mends it."""

    kind: str
    path: str
    what: str
    remedy: Remedy


@dataclass(slots=True, kw_only=True)
class Survey:
    """The records that can be trusted, by cell and evaluation, with the weights each was measured on.

    `origins` has, for each ladder member, the weights that its records name, and one of these records.
    """

    weights: dict[tuple[str, str], str] = field(default_factory=dict)
    with_checksum: int = 0
    origins: dict[Origin, dict[str, str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def survey(store: Store) -> Survey:
    """Read every record of `store`, planned or not."""
    found = Survey()
    origins: dict[str, Origin] = {}
    for folder in _inside(store.records):
        if not folder.is_dir():
            found.problems.append(_problem(store, "unknown file", folder, "pliant writes no file here", "aside"))
            continue
        for file in _inside(folder):
            if file.name == RUN_FILE:
                found.problems += _of_run_file(store, file)
            else:
                _add_record(store, file, found, origins)
    _add_compacted(store, found, origins)
    return found


def _add_compacted(store: Store, found: Survey, origins: dict[str, Origin]) -> None:
    """The records that a compacted study holds in one file, from which none is moved: that is undone first."""
    file = store.folder / COMPACTED
    undo = f"`pliant compact {store.folder} --undo` writes its files again, for `pliant fsck` to move"
    try:
        whole = compacted(store.folder)
        for cell, (_, names) in whole.names.items() if whole is not None else ():
            for name in names:
                text = whole.text(cell, name) if whole is not None else None
                if f"{name}.json" == RUN_FILE or text is None:
                    continue
                problem = _add_text(store, text, (cell, name), file, found, origins)
                if problem is not None:
                    what = f"records/{cell}/{name}.json: {problem.what}; {undo}"
                    found.problems.append(replace(problem, what=what, remedy="hand"))
    except (OSError, ValueError) as error:  # of pyarrow, which has no other
        what = f"it cannot be read ({error}); take it from a copy of the folder"
        found.problems.append(_problem(store, "damaged record", file, what, "hand"))


def _inside(folder: Path) -> Iterator[Path]:
    """What lies in `folder`, in order; links and what is being written are looked at elsewhere."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not entry.name.startswith(".") and not entry.is_symlink():
            yield entry


def _of_run_file(store: Store, file: Path) -> Iterator[Problem]:
    try:
        whole = isinstance(json.loads(read_text(file)), dict)
    except PermissionError:
        return
    except ValueError:
        whole = False
    if not whole:
        yield _problem(store, "half-written run.json", file, "how the cell went is lost; its records are not", "aside")


def _add_record(store: Store, file: Path, found: Survey, origins: dict[str, Origin]) -> None:
    try:
        text = read_text(file)
    except PermissionError:  # told with the permissions
        return
    except (OSError, ValueError) as error:
        found.problems.append(_problem(store, "damaged record", file, f"{error}", "aside"))
        return
    if (problem := _add_text(store, text, (file.parent.name, file.stem), file, found, origins)) is not None:
        found.problems.append(problem)


def _add_text(
    store: Store, text: str, at: tuple[str, str], file: Path, found: Survey, origins: dict[str, Origin]
) -> Problem | None:
    """Take the record `text`, which lies at the cell and evaluation `at`, in `file`; what is wrong with it, if so."""
    try:
        record = checked_record(text)
        newer = int(record["schema"]) > SCHEMA_VERSION
        place = None if newer else place_of(record)
    except (ValueError, KeyError, TypeError) as error:
        return _problem(store, "damaged record", file, f"{error}", "aside")
    if newer:
        what = f"schema {record['schema']}, this release reads up to {SCHEMA_VERSION}; upgrade pliant"
        return _problem(store, "newer record", file, what, "hand")
    if place != at:
        what = f"what is in it belongs at records/{'/'.join(place or ())}.json"
        return _problem(store, "misplaced record", file, what, "aside")
    if at not in found.weights:  # a compacted study that grew may have a record in both forms
        found.weights[at] = str(record["weights"])
        found.with_checksum += "checksum" in record
        _add_origin(record, str(file.relative_to(store.folder)), found, origins)
    return None


def _add_origin(record: dict[str, Any], path: str, found: Survey, origins: dict[str, Origin]) -> None:
    checkpoint = record["cell"].get("checkpoint")
    if isinstance(checkpoint, dict) and checkpoint.get("kind") == "ladder":
        name = digest(checkpoint)
        if name not in origins:
            origins[name] = origin_of(checkpoint)
        found.origins.setdefault(origins[name], {}).setdefault(record["weights"], path)


def origin_of(checkpoint: dict[str, Any]) -> Origin:
    """What `pliant.json` beside the weights of a ladder member says too."""
    ours = ("data", "seed", "tokens", "annealed")
    recipe = {name: value for name, value in checkpoint.items() if name not in ("kind", *ours)}
    return (digest(recipe), *(checkpoint.get(name) for name in ours))


def leftovers(store: Store) -> Iterator[Problem]:
    """What kills left; not what a process of this machine is writing now."""
    for path in store.leftovers():
        writer = writer_of(path.name)
        if writer == "gone":
            yield _problem(store, "leftover", path, "a run that was killed did not finish it", "sweep")
        elif writer == "elsewhere":
            what = "another machine began it: left by a kill there, unless a run is going on"
            yield _problem(store, "leftover", path, what, "sweep")


def tree(store: Store) -> Iterator[Problem]:
    """Links that lead out of the folder, and what this user may not read or write."""
    inside = store.folder.resolve()
    for place, folders, files in os.walk(store.folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                records = path.is_relative_to(store.records)
                what = f"leads out of the study, to {path.resolve()}" + ("" if records else "; put its target here")
                yield _problem(store, "link", path, what, "aside" if records else "hand")
            elif name in files and not _may(path, os.R_OK):
                yield _problem(store, "permission", path, "cannot be read; chmod u+r", "hand")
        if not _may(place, os.W_OK | os.X_OK):
            yield _problem(store, "permission", Path(place), "nothing can be written there; chmod u+rwx", "hand")
        folders[:] = [name for name in folders if not (name == "superseded" and Path(place) == store.folder)]


def _may(path: Path | str, what: int) -> bool:
    """Whether this process, as it is now, may do `what` (see `os.access`)."""
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _problem(store: Store, kind: str, path: Path, what: str, remedy: Remedy) -> Problem:
    place = path.relative_to(store.folder).as_posix()
    return Problem(kind=kind, path=place, what=" ".join(what.split()), remedy=remedy)
