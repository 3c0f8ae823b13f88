"""Names of what is being written: `.part-<random>-<host>-<process>`, so that a name tells whether its writer lives."""

import hashlib
import os
import platform
import re
from functools import cache
from typing import Literal

_OWNED = re.compile(r"\.part-[0-9a-f]{32}-(?P<host>[0-9a-f]{8})-(?P<process>[1-9]\d{0,8})(\.\w+)?")

Writer = Literal["gone", "here", "elsewhere"]
"""Who writes a part: nobody any more, a process of this machine, or one of another, which may live or not."""


def part_name(suffix: str = "") -> str:
    """A name that no other file or folder has, for what becomes whole under its own name by one rename."""
    return f".part-{os.urandom(16).hex()}-{_host()}-{os.getpid()}{suffix}"


def doomed_name() -> str:
    """A name for what is being deleted: whoever finds it may go on with that."""
    return f".part-{os.urandom(16).hex()}"


def writer_of(name: str) -> Writer:
    """Whether the part `name` is what a kill left, or may be what another runner is writing now."""
    found = _OWNED.fullmatch(name)
    if found is None:
        return "gone"
    if found["host"] != _host():
        return "elsewhere"
    return "here" if _lives(int(found["process"])) else "gone"


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
