"""A folder at a URL: its files listed, fetched, put and deleted, many at once, through fsspec."""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.engine import UserError

AT_ONCE = 32
"""Requests under way: an object store answers one in tens of milliseconds and hundreds in hardly more."""
WAITS_SECONDS = (0.5, 2.0, 8.0, 30.0)
"""Before each further attempt, after those that the client library makes by itself."""

Listener = Callable[[int, int], None]
"""Hears how many files of how many are done."""

_LOG = logging.getLogger(__name__)
_PASSES = frozenset(
    {errno.EBUSY, errno.EIO, errno.ETIMEDOUT, errno.EPIPE, errno.EAGAIN, getattr(errno, "EREMOTEIO", errno.EIO)}
)
_CLIENTS = ("aiobotocore", "aiohttp", "botocore", "requests", "urllib3")


class NotAllowed(PermissionError, UserError):
    """The remote can be read, perhaps, and not written. An OSError too: it is no fault of what was measured."""


class Unreachable(OSError):
    """The remote did not answer, or only that it cannot; work that failed by it may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file at the remote; `version` changes whenever its content does."""

    version: str
    size: int


def quiet(done: int, total: int) -> None:
    """The listener that says nothing."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A folder at `url`, of which files are named by their path below it.

    Every call is repeated where what failed may pass; what cannot be had is one line.
    """

    url: str

    def __post_init__(self) -> None:
        if "@" in self.url.partition("://")[2].partition("/")[0]:
            scheme, _, rest = self.url.partition("://")
            raise UserError(
                f"{scheme}://...@{rest.partition('@')[2]}: a URL must not hold credentials; they come from the "
                "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
            )

    def at(self, name: str) -> str:
        """The URL of the file `name`."""
        return f"{self.url}/{name}" if name else self.url

    def list(self, below: str = "") -> dict[str, Stored]:
        """Every file below the folder `below`, in one listing.

        Raises:
            UserError: the bucket is not there, or may not be read.
            Unreachable: no answer.
        """
        system, root = _opened(self.url)
        found = self._insist(below, lambda: system.find(f"{root}/{below}".rstrip("/"), detail=True), "list")
        start = len(root) + 1
        return {name[start:]: _stored(info) for name, info in found.items() if not name.endswith("/")}

    def fetch(self, files: Mapping[str, Path], listener: Listener = quiet) -> Iterator[str]:
        """Fetch each file to its place, whole or not at all; yields the name of each that is there, as they come.

        One that was deleted meanwhile is left out.
        """
        system, root = _opened(self.url)

        def one(name: str) -> bool:
            place = files[name]
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".part-{uuid.uuid4().hex}{place.suffix}")
            try:
                self._insist(name, lambda: system.get_file(f"{root}/{name}", str(temporary)), "read")
                os.replace(temporary, place)
            except FileNotFoundError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            return True

        for name, fetched in _many(one, files, listener):
            if fetched:
                yield name

    def put(self, name: str, content: bytes) -> Stored:
        """Write a small file, whole or not at all.

        Raises:
            NotAllowed: no permission.
        """
        system, root = _opened(self.url)
        answer = self._insist(name, lambda: system.pipe_file(f"{root}/{name}", content), "write")
        version = answer.get("ETag") if isinstance(answer, dict) else None
        return Stored(version=version, size=len(content)) if version else self._look(name)

    def put_file(self, name: str, place: Path) -> Stored:
        """Write a file of any size, whole or not at all.

        Raises:
            NotAllowed: no permission.
        """
        system, root = _opened(self.url)
        self._insist(name, lambda: system.put_file(str(place), f"{root}/{name}"), "write")
        return self._look(name)

    def delete(self, names: Collection[str], listener: Listener = quiet) -> None:
        """Delete files; what is not there need not be.

        Raises:
            NotAllowed: no permission.
        """
        system, root = _opened(self.url)

        def one(name: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self._insist(name, lambda: system.rm_file(f"{root}/{name}"), "delete")

        for _ in _many(one, names, listener):
            pass

    def _look(self, name: str) -> Stored:
        system, root = _opened(self.url)
        return _stored(self._insist(name, lambda: system.info(f"{root}/{name}"), "read"))

    def _insist(self, name: str, call: Callable[[], Any], doing: str) -> Any:
        for wait in (*WAITS_SECONDS, None):
            try:
                return call()
            except FileNotFoundError as error:
                if doing in ("list", "write"):
                    raise UserError(f"{self.at(name)} cannot be had: {_told(error)}; make the bucket first") from error
                raise
            except PermissionError as error:
                raise NotAllowed(f"no permission to {doing} {self.at(name)} ({_told(error)})") from error
            except Exception as error:
                if "Credential" in type(error).__name__:
                    raise UserError(
                        f"no credentials for {self.url} ({_told(error)}); set AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                    ) from error
                if not may_pass(error):
                    raise
                if wait is None:
                    raise Unreachable(
                        f"{self.at(name)}: {doing} failed {len(WAITS_SECONDS) + 1} times, last: {_told(error)}; what "
                        "is finished is kept on this machine, and the same command continues"
                    ) from error
                _LOG.warning("%s: %s failed (%s); once more in %g s", self.at(name), doing, _told(error), wait)
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def may_pass(error: Exception) -> bool:
    """Whether the same request can succeed a little later: the network, or a server that is busy."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _PASSES
    return type(error).__module__.partition(".")[0] in _CLIENTS


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _many(one: Callable[[str], Any], names: Collection[str], listener: Listener) -> Iterator[tuple[str, Any]]:
    """Do `one` to each name, `AT_ONCE` at a time; yields name and answer as they come. The first error stops it."""
    pool = ThreadPoolExecutor(min(AT_ONCE, max(1, len(names))), thread_name_prefix="remote")
    try:
        waiting = {pool.submit(one, name): name for name in names}
        for done, future in enumerate(as_completed(waiting)):
            yield waiting[future], future.result()
            listener(done + 1, len(names))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stored(info: Mapping[str, Any]) -> Stored:
    version = next((info[key] for key in ("ETag", "etag", "md5Hash") if info.get(key)), None)
    if version is None:
        version = next((info[key] for key in ("LastModified", "mtime", "created") if info.get(key)), "")
    return Stored(version=str(version), size=int(info["size"]))


@functools.cache
def _opened(url: str) -> tuple[Any, str]:
    """The file system of `url`, one for each process, and the folder's path in it."""
    import fsspec

    scheme = url.partition("://")[0]
    try:
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        need = "pip install 'pliant[s3]'" if scheme in ("s3", "s3a") else _told(error)
        raise UserError(f"{url} needs a package that is not installed: {need}") from error
    except ValueError as error:
        raise UserError(f"{url} is no place that can be opened ({_told(error)}); give s3://BUCKET/FOLDER") from error
    return system, str(root).rstrip("/")


def is_url(place: str | Path) -> bool:
    """Whether `place` is written as a URL."""
    return isinstance(place, str) and re.match(r"[a-z][a-z0-9+.-]*://", place) is not None


def digest_of(content: bytes) -> str:
    """A short name of what a file holds."""
    return hashlib.sha256(content).hexdigest()[:32]
