"""How a worker process begins: with nothing, or with the libraries of its work imported already."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

PRELOADED = "pliant.studies.preloaded"
"""The module that imports what a worker needs. It must start no thread and touch no device: neither survives a fork."""
_ACCELERATORS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


def warm_up() -> None:
    """Begin to import `PRELOADED` in a process of its own, from which the workers of this one are then forked.

    Six seconds of imports happen once instead of in each worker, and beside whatever this process does meanwhile. That
    process ends with this one. Nothing is done where a fork is not safe: beside an accelerator, or off Linux.
    """
    if not sys.platform.startswith("linux") or any(device.exists() for device in _ACCELERATORS) or _WARM:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is this process's to handle
    try:
        with thread_environment(1):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _WARM.append(dict(os.environ))
    atexit.register(_end)


def _end() -> None:
    """End the warm process: while it imports, it does not notice that this one ends, and holds its output open."""
    process = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


_WARM: list[dict[str, str]] = []
"""The environment in which this process has begun to warm up, if it has."""


def context_for(threads: int) -> SpawnContext | ForkServerContext:
    """What starts a worker of so many threads: a fork, where the libraries that are imported already would find on
    import what they found then."""
    if threads == 1 and _WARM and dict(os.environ) == _WARM[0]:
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


@contextlib.contextmanager
def thread_environment(threads: int) -> Iterator[None]:
    """Set the thread counts a child inherits: numeric libraries read them once, on import."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
