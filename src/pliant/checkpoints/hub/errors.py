"""What the Hub's client raises, told in one line: what was asked for, what is wrong, what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.client import nearest_repos, nearest_revisions
from pliant.records.redaction import redacted

# RuntimeError is what hf_xet, the client's second transport, raises.
FAILURES = (HTTPError, OSError, HFValidationError, RuntimeError)


@contextmanager
def one_line(repo: str, revision: str = "", *, caches: Sequence[Path] = ()) -> Iterator[None]:
    """Turn what the client raises into a CheckpointError; names of repositories in `caches` may be suggested."""
    try:
        yield
    except FAILURES as error:
        raise explained(error, repo, revision, caches=caches) from error


def unreachable(error: BaseException) -> bool:
    """Whether the Hub was not asked (offline mode) or did not answer at all, so that only a cache can."""
    return isinstance(error, OfflineModeIsEnabled) or (
        isinstance(error, HTTPError) and not isinstance(error, HfHubHTTPError)
    )


def explained(error: BaseException, repo: str, revision: str = "", *, caches: Sequence[Path] = ()) -> CheckpointError:
    """The one line for what the client raised when it was asked for `revision` of `repo`, or for `repo` as a whole."""
    hub = constants.ENDPOINT
    what = f"{repo}@{revision}" if revision else repo
    match error:
        case GatedRepoError():
            line = (
                f"{repo} is gated; accept its terms at {hub}/{repo}, then log in with `hf auth login` or set HF_TOKEN"
            )
        case RepositoryNotFoundError():
            near = or_nearest(nearest_repos(repo, caches))
            line = f"no repository {repo} at {hub}{near}; check the name, or `hf auth login` if it is private"
        case DisabledRepoError():
            line = f"{repo} has been disabled by the Hub or its owner; choose another repository"
        case RevisionNotFoundError():
            near = or_nearest(nearest_revisions(repo, revision))
            line = f"{repo} has no branch, tag or commit {revision}{near}; list its revisions to choose one"
        case RemoteEntryNotFoundError():
            line = f"{what}: a file that was listed is gone from {hub}; list the revisions again"
        case OfflineModeIsEnabled():
            line = f"{what} is not in the local cache, and offline mode is on; unset HF_HUB_OFFLINE to ask {hub}"
        case LocalEntryNotFoundError() if error.__cause__ is not None:
            return explained(error.__cause__, repo, revision, caches=caches)
        case HfHubHTTPError():
            line = f"{what}: {hub} answered {_status(error.response.status_code)}"
        case HTTPError():
            line = (
                f"{what}: no whole answer from {hub} ({_first(error)}); check the network and try again, "
                "or set HF_HUB_OFFLINE=1 to work from the local cache alone"
            )
        case HFValidationError():
            line = f"{repo!r} is no name of a Hub repository; expected owner/name, such as allenai/OLMo-1B-hf"
        case _:
            line = f"{what} could not be fetched ({_first(error)}); mend that and try again"
    return CheckpointError(redacted(line))


def or_nearest(names: Sequence[str]) -> str:
    """`; nearest: a, b`, or nothing where there is none."""
    return f"; nearest: {', '.join(names)}" if names else ""


def _status(code: int) -> str:
    if code in (401, 403):
        return f"{code} (no access); log in with `hf auth login` or set HF_TOKEN to a token that may read it"
    if code == 429:
        return "429 (too many requests); wait a few minutes, or log in with `hf auth login` to be allowed more"
    return f"{code}; try again later" if code >= 500 else f"{code}; expected a server that speaks the Hub's protocol"


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
