"""The mirrors of this machine: one for each remote study folder, below the cache folder."""

import contextlib
import json
import os
import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pliant.execution.mirror import Mirror
from pliant.execution.remote import Listener, Remote, is_url, quiet
from pliant.execution.remote_names import HIDDEN
from pliant.execution.writing import write_atomically
from pliant.records.identity import digest
from pliant.records.places import cache_folder

_MARK = f"{HIDDEN}/mirror.json"


def mirror_at(url: str) -> Mirror:
    """The mirror that this machine keeps of `url`, below the cache folder; a new one is empty.

    Servers of their own (AWS_ENDPOINT_URL) may have buckets of one name.
    """
    url = url.rstrip("/")
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", url)[-60:]
    folder = cache_folder().absolute() / "mirrors" / f"{readable}-{digest([url, server], 12)}"
    remote = Remote(url)
    if not (folder / _MARK).is_file():
        write_atomically(folder / _MARK, json.dumps({"url": url, "name": uuid.uuid4().hex}) + "\n")
    return Mirror(remote=remote, folder=folder, name=_mark(folder)["name"])


def mirror_of(place: Path) -> Mirror | None:
    """The mirror that `place` lies in, if it lies in one."""
    whole = place.absolute()
    for folder in (whole, *whole.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mark = _mark(folder)
            return Mirror(remote=Remote(mark["url"]), folder=folder, name=mark["name"])
    return None


def _mark(folder: Path) -> dict[str, str]:
    mark: dict[str, str] = json.loads((folder / _MARK).read_text(encoding="utf-8"))
    return mark


def local_folder(place: str | Path, listener: Listener = quiet) -> Path:
    """The folder of a study: `place` itself, or for a URL its mirror, made what the remote is.

    Raises:
        UserError: the remote cannot be read.
    """
    if not is_url(place):
        return Path(place)
    if str(place).startswith("file://"):
        return Path(url2pathname(urlsplit(str(place)).path))
    mirror = mirror_at(str(place))
    mirror.pull(listener)
    return mirror.folder


def here(mirror: Mirror) -> Mirror:
    """`mirror`; on a machine that cannot see it, that machine's own, which may be behind."""
    return mirror if mirror_of(mirror.folder) == mirror else mirror_at(mirror.remote.url)


def shown(place: Path) -> str:
    """What people call `place`: the URL of what lies in a mirror, else the path."""
    mirror = mirror_of(place)
    return str(place) if mirror is None else mirror.shown(place)


def publish(place: Path) -> None:
    """Put the file `place` at the remote, if it lies in a mirror."""
    mirror = mirror_of(place)
    if mirror is not None:
        mirror.push([place])
