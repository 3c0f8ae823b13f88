"""How many tokens one forward pass may take on this machine, and what running out of memory looks like."""

import math
import os
from pathlib import Path

import torch

LOGIT_COPIES = 3
"""Logits, their fp32 copy and the log-softmax: what a forward pass and its loss keep of a token at once."""
TRAINING_COPIES = 4
"""Weights, gradients and the two moments of AdamW."""
SPARE = 0.8
"""The share of the free memory that is planned with."""


def free_bytes(device: str) -> int:
    """Memory that a new process could take: of the accelerator, else what Linux calls available, else all there is."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def batch_that_fits(wanted: int, *, window: int, vocabulary: int, weight_bytes: int, free: int) -> int:
    """The largest of `wanted`, wanted / 2, wanted / 4, ... tokens whose logits fit beside the weights; 0 if none does.

    weights + LOGIT_COPIES x 4 bytes x vocabulary x tokens <= SPARE x free; a batch holds one window at least.
    """
    tokens = max(wanted, window)
    while tokens >= window:
        if weight_bytes + LOGIT_COPIES * 4 * vocabulary * tokens <= SPARE * free:
            return tokens
        if tokens == window:
            break
        tokens = max(window, tokens // 2)
    return 0


def shards_that_fit(parameters: int, device_bytes: int) -> int:
    """The fewest processes among which the training of so many `parameters` fits, each on a device of its own.

    TRAINING_COPIES x 4 bytes x parameters / shards <= SPARE x device_bytes; two at least.
    """
    return max(2, math.ceil(TRAINING_COPIES * 4 * parameters / (SPARE * device_bytes)))


def does_not_fit(name: str, parameters: int, device: str) -> str:
    """The line for a checkpoint that ran out of memory when it was opened; shards help where devices are many."""
    line = f"{name} does not fit into memory on {device} in fp32"
    if device != "cuda":
        return line
    shards = shards_that_fit(parameters, torch.cuda.mem_get_info()[1])
    return f"{line}; start a study with numerics: {{device: cuda, shards: {shards}}}, which takes {shards} GPUs"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on an accelerator or in torch's own allocator for the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
