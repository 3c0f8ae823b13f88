"""torch.compile with a cache of this process alone.

A compilation that is killed can leave half a library in the cache that torch shares between processes, and the next
process to find it there dies of it.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

SHAPES_AT_ONCE = 64
"""Kinds of model and batch that one process may compile the same function for."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled as a whole at its first call, for the shapes of its arguments.

    What cannot be compiled raises there; nothing falls back to the plain function.
    """
    private_cache()
    torch._dynamo.config.recompile_limit = SHAPES_AT_ONCE
    made: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False)
    return made


@lru_cache(maxsize=1)
def private_cache() -> str:
    """A new folder that torch compiles into until this process ends, in this process and not in helpers of it."""
    folder = tempfile.mkdtemp(prefix="pliant-compiled-")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
