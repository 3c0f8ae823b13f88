"""The Hub's own client, asked for names, commits and file metadata, never for longer than its download timeout."""

from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import HTTPError
from huggingface_hub.hf_api import RepoFile

from pliant.checkpoints.hub.local import cached_repos
from pliant.checkpoints.hub.revision import HubFile, HubRevision

_CANDIDATES = 200  # repositories whose names are asked for when looking for the nearest


def commits_of(repo: str) -> dict[str, str]:
    """The branches and then the tags of `repo`, each with the commit it points to now: one request."""
    refs = _api().list_repo_refs(repo)
    return {ref.name: ref.target_commit for ref in (*refs.tags, *refs.branches)}


def commit_of(repo: str, revision: str) -> str:
    """The full commit behind a branch, a tag or a commit: one request."""
    return str(_api().model_info(repo, revision=revision).sha)


def files_of(repo: str, commit: str) -> tuple[HubFile, ...]:
    """The metadata of the files at the top of a commit: one request."""
    entries = [entry for entry in _api().list_repo_tree(repo, revision=commit) if isinstance(entry, RepoFile)]
    return tuple(
        HubFile(path=entry.path, size=entry.size, blob=entry.blob_id, sha256=entry.lfs and entry.lfs.sha256)
        for entry in sorted(entries, key=lambda entry: entry.path)
    )


def shapes_of(revision: HubRevision) -> dict[str, tuple[int, ...]]:
    """The shapes of the stored tensors by name, from the headers of the safetensors files: two requests a file."""
    headers = (
        _api().parse_safetensors_file_metadata(revision.repo, file.path, revision=revision.commit)
        for file in revision.safetensors
    )
    return {name: tuple(tensor.shape) for header in headers for name, tensor in header.tensors.items()}


def nearest_repos(repo: str, caches: Sequence[Path] = ()) -> list[str]:
    """Names close to one that is not there, of repositories that the Hub or the caches have; none if it cannot say."""
    names = cached_repos(caches)
    owner, _, name = repo.rpartition("/")
    with suppress(HTTPError, OSError):
        found = chain(
            _api().list_models(search=name, limit=_CANDIDATES),
            _api().list_models(author=owner, limit=_CANDIDATES) if owner else (),
        )
        names += [model.id for model in found]
    return get_close_matches(repo, dict.fromkeys(names))


def nearest_revisions(repo: str, revision: str) -> list[str]:
    """Names close to one that is not there, of branches and tags of `repo`; none if the Hub cannot say."""
    with suppress(HTTPError, OSError):
        return get_close_matches(revision, commits_of(repo).keys() - {revision})
    return []


def _api() -> Any:
    hooks = get_session().event_hooks["request"]
    if _bound not in hooks:
        hooks.append(_bound)
    return HfApi(library_name="pliant")


def _bound(request: Any) -> None:
    """Give a request that would wait for ever the timeout that downloads have: the client gives its own calls none."""
    waits = request.extensions["timeout"]
    bounded = {part: constants.HF_HUB_DOWNLOAD_TIMEOUT if wait is None else wait for part, wait in waits.items()}
    request.extensions["timeout"] = bounded
