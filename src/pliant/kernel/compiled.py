"""Compiled once on a machine: where numba keeps what it made of these sources."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from pliant.data.cache import cache_folder


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` through numba, kept in a folder of these very sources and of this numba, in $NUMBA_CACHE_DIR if that
    is set, else in pliant's cache.

    numba looks at the file of a function alone to tell whether what it kept is of today; this one calls others.
    """
    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    digest = hashlib.sha256(sources + numba.__version__.encode()).hexdigest()[:12]
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(Path(before or cache_folder()) / f"kernel-{digest}")
    try:
        made: Callable[..., Any] = numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before
    return made
