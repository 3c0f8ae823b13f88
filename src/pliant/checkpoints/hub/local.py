"""What a Hugging Face cache on this disk holds, read from the layout that huggingface_hub publishes.

models--OWNER--NAME/refs/REVISION               the commit it pointed to when something of it was fetched
models--OWNER--NAME/snapshots/COMMIT/FILE  ->   models--OWNER--NAME/blobs/HASH
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.revision import INDEX, HubFile, HubRevision
from pliant.records.outside import parse_json


def user_cache() -> Path:
    """The user's own Hugging Face cache: read, never written."""
    return Path(constants.HF_HUB_CACHE)


def repo_folder(cache: Path, repo: str) -> Path:
    """Where `cache` keeps what it has of `repo`."""
    return cache / f"models--{repo.replace('/', '--')}"


def cached_repos(caches: Sequence[Path]) -> list[str]:
    """The model repositories of which the caches hold anything."""
    folders = {folder.name for cache in caches for folder in cache.glob("models--*")}
    return sorted(name.removeprefix("models--").replace("--", "/") for name in folders)


def cached_revisions(repo: str, caches: Sequence[Path]) -> tuple[HubRevision, ...]:
    """The revisions of `repo` that the caches together hold anything of, with the files they hold.

    Where two caches differ on what a name points to, the first is believed. A snapshot that no name points to goes
    by its commit.
    """
    folders = [repo_folder(cache, repo) for cache in caches]
    commits = {snapshot.name for folder in folders for snapshot in folder.glob("snapshots/*")}
    names: dict[str, str] = {}
    for folder in folders:
        for name, commit in _refs(folder):
            names.setdefault(name, commit)
    pinned = {name: commit for name, commit in names.items() if commit in commits}
    pinned |= {commit: commit for commit in commits - set(pinned.values())}
    return tuple(
        HubRevision(repo=repo, revision=name, commit=commit, files=_files(folders, commit))
        for name, commit in sorted(pinned.items())
    )


def absent_shards(revision: HubRevision, caches: Sequence[Path]) -> tuple[str, ...]:
    """The shards that the index of a cached revision names and no cache holds."""
    held = {file.path for file in revision.weights}
    for cache in caches:
        index = repo_folder(cache, revision.repo) / "snapshots" / revision.commit / INDEX
        if index.is_file():
            try:
                named = set(map(str, parse_json(index.read_bytes())["weight_map"].values()))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{index} is no index of shards (damaged or cut short); delete it") from error
            return tuple(sorted(named - held))
    return ()


def holds(path: Path, file: HubFile) -> bool:
    """Whether the file at `path` has the size and the content that the metadata give.

    The content goes by its SHA-256, or for a file that git itself keeps by git's SHA-1 of "blob SIZE\\0" + content.
    """
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as content:
        if file.sha256 is not None:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        return hashlib.sha1(b"blob %d\0" % file.size + content.read()).hexdigest() == file.blob


def hops(link: Path) -> Iterator[Path]:
    """The paths that a symbolic link leads through, one after the other; the last one is no link."""
    while True:
        try:
            target = os.readlink(link)
        except OSError:  # no link, or one that another thread has just removed
            return
        link = Path(os.path.abspath(link.parent / target))
        yield link


def _refs(folder: Path) -> Iterator[tuple[str, str]]:
    refs = folder / "refs"
    for path in refs.glob("**/*"):
        if path.is_file():
            yield path.relative_to(refs).as_posix(), path.read_text().strip()


def _files(folders: Sequence[Path], commit: str) -> tuple[HubFile, ...]:
    files: dict[str, HubFile] = {}
    for folder in folders:
        for path in folder.glob(f"snapshots/{commit}/*"):
            blob = next(hops(path), path).name
            if path.is_file() and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob):
                sha256 = blob if len(blob) == 64 else None
                files.setdefault(path.name, HubFile(path=path.name, size=path.stat().st_size, blob=blob, sha256=sha256))
    return tuple(files[name] for name in sorted(files))
