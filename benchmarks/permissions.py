"""Permissions that bind root too, for faults and tests that take them away."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

PERMISSIONS = (1, 2, 3)
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: with these no permission binds root; see capabilities(7)."""


@contextlib.contextmanager
def obeying_permissions() -> Iterator[None]:
    """Be bound by permissions, as every user but root is."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0, os.strerror(ctypes.get_errno())
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~sum(1 << number for number in PERMISSIONS)  # the effective set; the permitted one stays
    assert libc.capset(header, without) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0, os.strerror(ctypes.get_errno())
