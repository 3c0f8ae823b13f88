"""The revisions of a Hub repository with their file metadata: from the Hub, or offline from the local cache alone."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.client import commit_of, commits_of, files_of
from pliant.checkpoints.hub.errors import FAILURES, explained, or_nearest, unreachable
from pliant.checkpoints.hub.local import absent_shards, cached_revisions, user_cache
from pliant.checkpoints.hub.progress import Progress
from pliant.checkpoints.hub.revision import HubRevision

_Found = HubRevision | str  # a revision, or the reason why there is none to use
_THREADS = 16  # requests under way at once: 150 revisions take seconds, far within the Hub's limits
_SHOWN = 3  # names given where none is near


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The revisions found, and apart from them the names that cannot be used, each with the reason."""

    revisions: tuple[HubRevision, ...]
    missing: tuple[tuple[str, str], ...]
    source: Literal["hub", "cache"]


def list_revisions(
    repo: str, pattern: str = "*", *, caches: Sequence[Path] = (), progress: Progress | None = None
) -> Listing:
    """Branches and tags of `repo` whose name matches one of the comma-separated globs, each pinned to its commit.

    One request for the names and one a revision for its metadata; no weights are fetched. In offline mode, or when
    the Hub does not answer, the revisions are those in `caches` and in the user's Hugging Face cache. `progress`
    is called with revisions done and revisions in all.

    Raises:
        CheckpointError: no such repository, no access, no answer and nothing cached, or no name that matches.
    """
    caches = (*caches, user_cache())
    try:
        commits = commits_of(repo)
    except FAILURES as error:
        cached = {revision.revision: revision for revision in _cached(error, repo, caches)}
        names, missing = _matching(repo, pattern, list(cached))
        return _listing([(name, _whole(cached[name], caches)) for name in names], missing, "cache")
    names, missing = _matching(repo, pattern, list(commits))
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(lambda name: _published(repo, name, commits[name]), names)
        return _listing(zip(names, _counted(found, len(names), progress), strict=True), missing, "hub")


def repo_revision(repo: str, revision: str, *, caches: Sequence[Path] = ()) -> HubRevision:
    """One branch, tag or commit of `repo`, pinned to its commit; offline it comes from the caches.

    Raises:
        CheckpointError: no such repository or revision, no access, no weights, no answer and nothing cached.
    """
    caches = (*caches, user_cache())
    try:
        found = _published(repo, revision, commit_of(repo, revision))
    except FAILURES as error:
        held = [each for each in _cached(error, repo, caches, revision) if revision in (each.revision, each.commit)]
        if not held:
            raise explained(error, repo, revision) from error
        found = _whole(held[0], caches)
    if isinstance(found, str):
        raise CheckpointError(f"{repo}@{revision}: {found}; choose another revision")
    return found


def _published(repo: str, name: str, commit: str) -> _Found:
    try:
        revision = HubRevision(repo=repo, revision=name, commit=commit, files=files_of(repo, commit))
    except FAILURES as error:
        if unreachable(error):  # what is gone for a moment only must not be left out for good
            raise explained(error, repo, name) from error
        return str(explained(error, repo, name))
    return revision if revision.weights else _without_weights(revision)


def _cached(error: Exception, repo: str, caches: Sequence[Path], revision: str = "") -> tuple[HubRevision, ...]:
    """What the caches hold of `repo`, where `error` says that the Hub cannot be asked."""
    held = cached_revisions(repo, caches) if unreachable(error) else ()
    if not held:
        raise explained(error, repo, revision, caches=caches) from error
    return held


def _whole(revision: HubRevision, caches: Sequence[Path]) -> _Found:
    if not revision.weights:
        return f"{_without_weights(revision)} in the local cache"
    absent = absent_shards(revision, caches)
    return f"shard {absent[0]} is not in the local cache ({len(absent)} missing)" if absent else revision


def _without_weights(revision: HubRevision) -> str:
    return f"no weights (model*.safetensors or pytorch_model*.bin) among its {len(revision.files)} files"


def _matching(repo: str, pattern: str, names: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The names that the globs match, in the order of `names`, and the globs that match none, with the reason."""
    globs = [glob.strip() for glob in pattern.split(",") if glob.strip()]
    matched = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    unmatched = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in names)]
    if not matched:
        near = get_close_matches(pattern, names) or sorted(names)[:_SHOWN]
        raise CheckpointError(
            f"no branch or tag of {repo} matches {pattern!r}{or_nearest(near)} (of {len(names)}); "
            "give names or globs, separated by commas, such as 'step*'"
        )
    reasons = (f"no branch or tag of that name{or_nearest(get_close_matches(glob, names))}" for glob in unmatched)
    return matched, list(zip(unmatched, reasons, strict=True))


def _listing(
    found: Iterable[tuple[str, _Found]], missing: Sequence[tuple[str, str]], source: Literal["hub", "cache"]
) -> Listing:
    answers = list(found)
    return Listing(
        revisions=tuple(answer for _, answer in answers if not isinstance(answer, str)),
        missing=(*((name, answer) for name, answer in answers if isinstance(answer, str)), *missing),
        source=source,
    )


def _counted(found: Iterable[_Found], total: int, progress: Progress | None) -> Iterable[_Found]:
    for done, each in enumerate(found, start=1):
        if progress is not None:
            progress(done, total)
        yield each
