"""What people write for checkpoints: a folder, a Hub repository, REPO@REVISION, or lm-eval's model arguments."""

import re
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import CheckpointError
from pliant.records.outside import clipped, is_shown_name

ALL_REVISIONS = "*"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_PRETRAINED = "pretrained="
_ARGUMENTS = ("pretrained", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder on disk that is a checkpoint or holds some."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A Hub repository; `revisions` are globs separated by commas, `"step*,main"`."""

    repo: str
    revisions: str = ALL_REVISIONS

    def __str__(self) -> str:
        return self.repo if self.revisions == ALL_REVISIONS else f"{self.repo}@{self.revisions}"


Source = Folder | Repository


def read_source(text: str, *, below: Path | None = None, revisions: str | None = None) -> Source:
    """What `text` names; a path that exists (relative ones are taken from `below`) comes before a repository.

    `org/name`, `org/name@step1000-tokens4B`, and lm-eval's `pretrained=org/name,revision=step1000-tokens4B`.

    Raises:
        CheckpointError: no such folder and no name of a repository; revisions given twice, or for a folder.
    """
    if (whole := _path(text, below)).exists():
        name, own, path = text, None, whole
    else:
        name, own = _parts(text)
        path = _path(name, below)
    if own is not None and revisions is not None:
        raise CheckpointError(
            f"{text} names its revision, and revisions {revisions!r} are given, too; give one of them"
        )
    wanted = own if own is not None else revisions
    if path.exists():
        if wanted is not None:
            raise CheckpointError(f"{path} is a folder on disk, which has no revisions; leave {wanted!r} out")
        return Folder(path=path)
    if _REPOSITORY.fullmatch(name) is None:
        raise CheckpointError(
            f"no checkpoint folder at {path}; give a folder, a Hub repository (org/name) or org/name@revision"
        )
    return Repository(repo=name, revisions=wanted or ALL_REVISIONS)


def is_repository(text: str, *, below: Path) -> bool:
    """Whether `text` names something on the Hub: nothing at that path from `below`, and a repository by its looks."""
    return not _path(text, below).exists() and _REPOSITORY.fullmatch(_parts(text)[0]) is not None


def anchored(text: str, *, below: Path) -> str:
    """`text` with a relative path in it taken from `below`; as it is where it names something on the Hub."""
    if is_repository(text, below=below):
        return text
    prefix = _PRETRAINED if text.startswith(_PRETRAINED) and not _path(text, below).exists() else ""
    return prefix + str(_path(text.removeprefix(prefix), below))


def _path(name: str, below: Path | None) -> Path:
    """
    Raises:
        CheckpointError: no name of anything: control characters in it, too long, or of a user who is not there.
    """
    if not is_shown_name(name):
        raise CheckpointError(
            f"{clipped(name)} names no checkpoint; give a folder, a Hub repository (org/name) or org/name@revision"
        )
    try:
        path = Path(name).expanduser()
        path = path if below is None or path.is_absolute() else below / path
        path.exists()
    except (OSError, RuntimeError) as error:  # a name too long; no user of that name
        raise CheckpointError(f"no checkpoint folder at {clipped(name)} ({error})") from error
    return path


def _parts(text: str) -> tuple[str, str | None]:
    if text.startswith(_PRETRAINED):
        return _model_arguments(text)
    name, mark, revision = text.partition("@")
    return name, revision if mark and revision else None


def _model_arguments(text: str) -> tuple[str, str | None]:
    pairs = [part.partition("=") for part in text.split(",")]
    given = {key.strip(): value.strip() for key, _, value in pairs}
    if unknown := [key for key in given if key not in _ARGUMENTS]:
        raise CheckpointError(
            f"{text}: {unknown[0]}= means nothing here; expected pretrained=NAME and revision=REVISION"
        )
    return given["pretrained"], given.get("revision")
