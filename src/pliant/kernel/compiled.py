"""Compiled once on a machine: where numba keeps what it made of these sources."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from pliant.kernel.sources import kernel_name
from pliant.records.places import cache_folder


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` through numba, kept in a folder of these very sources and of this numba, in $NUMBA_CACHE_DIR if that
    is set, else in pliant's cache.

    numba looks at the file of a function alone to tell whether what it kept is of today; this one calls others.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(Path(before or cache_folder()) / f"kernel-{kernel_name()}")
    try:
        made: Callable[..., Any] = numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before
    return made
