"""Attention for short texts and small heads in a library that is built from attention.cpp when it is first used.

torch's kernel for the CPU is made for large heads and long texts: at 128 positions and heads of 8 to 32 it is half of a
training step. This one takes 0.4 to 0.8 of its time there, and is used where compiling is: it needs nothing more.
"""

import ctypes
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pliant.training.compiler import private_cache

SIZES = (4, 8, 16, 32)
"""Numbers in a head that there is code for."""
LONGEST = 512
"""Positions: beyond, the scores of a head leave the cache."""

FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast", "-shared", "-fPIC", "-w")


def native(heads: Tensor) -> bool:
    """Whether there is code for heads like these, (batch, heads, length, size), and it is the quicker one."""
    return heads.shape[3] in SIZES and heads.shape[2] <= LONGEST and heads.dtype == torch.float32


class _Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "row")]


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "heads", "length")] + [("scale", ctypes.c_float)]


@lru_cache(maxsize=1)
def _library() -> Any:
    """Built by the compiler that torch.compile uses.

    Raises:
        RuntimeError: that did not work.
    """
    source, built = Path(__file__).with_name("attention.cpp"), Path(private_cache()) / "attention.so"
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, *FLAGS, str(source), "-o", str(built)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {made.stderr.strip()}")
    return ctypes.CDLL(str(built))


def _call(name: str, inputs: tuple[Tensor, ...], kept: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
    batch, heads, length, size = inputs[0].shape
    strides = (_Strides * len(inputs))(*(_Strides(x.stride(0), x.stride(1), x.stride(2)) for x in inputs))
    assert all(x.stride(3) == 1 and x.dtype == torch.float32 for x in inputs)
    pointers = (ctypes.c_void_p(x.data_ptr()) for x in (*inputs, *kept, *outputs))
    sizes = _Sizes(batch, heads, length, size**-0.5)
    failed = getattr(_library(), name)(ctypes.c_int(size), sizes, strides, *pointers)
    assert not failed, f"there is no code for heads of {size}"


def _rows_of(heads: Tensor) -> Tensor:
    batch, count, length, size = heads.shape
    return heads.new_empty(batch, length, count, size)


@torch.library.custom_op("pliant::attend", mutates_args=())
def attend_natively(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k' / sqrt(size)) v over the past, (batch, length, heads, size); and the log of the sums of powers."""
    mixed, sums = _rows_of(queries), queries.new_empty(queries.shape[:3])
    _call("attend", (queries, keys, values), (), (mixed, sums))
    return mixed, sums


@attend_natively.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return _rows_of(queries), queries.new_empty(queries.shape[:3])


@torch.library.custom_op("pliant::attend_back", mutates_args=())
def attend_back_natively(
    gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mixed: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values, each (batch, length, heads, size)."""
    found = _rows_of(queries), _rows_of(queries), _rows_of(queries)
    _call("attend_back", (gradient, queries, keys, values), (mixed, sums), found)
    return found


@attend_back_natively.register_fake
def _(
    gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mixed: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _rows_of(queries), _rows_of(queries), _rows_of(queries)
