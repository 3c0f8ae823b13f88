"""A dozen checkpoints of one architecture, each opened and measured: ours against `from_pretrained` for each.

Every way is a process of its own, so that its peak memory is its own; they take turns at each checkpoint, and each
lets go of the last model before it opens the next. Times are CPU seconds of opening with files in the page cache.
Ours is what a worker does: `open_checkpoint` into the resident model, with the file checked, the fingerprint, the look
for NaN. Files are hashed when a study is planned, and the worker finds them known; *hashed* is ours where it does not.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.turns import ratio, times_as_fast

COUNT = 12
PEER, OURS, HASHED = "from_pretrained", "pliant", "pliant, hashed"
WAYS = (PEER, OURS, HASHED)
TARGET = 5.0
TOKENS = 256
"""On which the loss of each is compared; small, since opening is what is measured."""
AGREE = 1e-4
"""Nats per token, in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A preset with a vocabulary that makes it about so large in fp32, in files of at most `shard_megabytes`."""

    name: str
    preset: str
    vocabulary: int
    dtype: str = "float32"
    shard_megabytes: int = 1000


SMALL = Size(name="10 MB", preset="1M", vocabulary=7000)
LARGE = Size(name="120 MB", preset="30M", vocabulary=42_000, shard_megabytes=45)
HALF = replace(LARGE, name="120 MB stored in bfloat16", dtype="bfloat16", shard_megabytes=23)
SMOKE = Size(name="smoke", preset="width-8", vocabulary=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """CPU seconds and peak bytes of opening each checkpoint, by way; `model` and `shard` are bytes in fp32."""

    seconds: Mapping[str, list[float]]
    peaks: Mapping[str, list[int]]
    model: int
    shard: int


def make(folder: Path, size: Size, count: int) -> tuple[int, int]:
    """Write the checkpoints; the bytes of one in fp32, and of its largest file with every number in fp32."""
    import torch

    from pliant.checkpoints.architecture import PRESETS, build_model

    model, dtype = build_model(PRESETS[size.preset], size.vocabulary, 0), getattr(torch, size.dtype)
    for number in range(count):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        model.to(dtype).save_pretrained(folder / str(number), max_shard_size=f"{size.shard_megabytes}MB")
        model.float()
    largest = max(file.stat().st_size for file in (folder / "0").glob("*.safetensors"))
    return sum(4 * parameter.numel() for parameter in model.parameters()), largest * 4 // dtype.itemsize


def opener(way: str) -> Callable[[Path], Any]:
    """From a folder to the model in fp32, ready to evaluate."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from pliant.checkpoints.folder import open_checkpoint
    from pliant.checkpoints.resident import Resident

    logging.disable_progress_bar()
    if way == PEER:
        return lambda folder: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    resident = Resident()
    return lambda folder: open_checkpoint(folder, into=resident).model


def held_out_loss(model: Any, way: str) -> float:
    """Nats per token of fixed random tokens: the peer's from its own loss, ours as a study measures it."""
    import numpy as np
    import torch

    from pliant.data.tasks import EncodedSplit
    from pliant.evaluation.losses import loss_measurement
    from pliant.training.decoder import choose_forward

    vocabulary = model.config.vocab_size
    windows = np.random.default_rng(0).integers(vocabulary, size=(TOKENS // 32, 33))
    if way == PEER:
        with torch.inference_mode():
            return float(model(input_ids=torch.from_numpy(windows), labels=torch.from_numpy(windows)).loss)
    split, forward = EncodedSplit(inputs=windows[:, :-1], targets=windows[:, 1:]), choose_forward(model, "lean")
    found = loss_measurement(model, split, forward=forward, name="test", batch_tokens=2048, draw=None, sign=None)
    return found.value


def serve(way: str, warm: Path, cache: Path, calls: Connection) -> None:
    """Open each folder that comes through `calls`; answer with CPU seconds, peak bytes and loss."""
    os.environ["PLIANT_CACHE"] = str(cache)
    import torch

    torch.set_num_threads(1)
    held_out_loss(opener(way)(warm), way)
    opened, base, open_one = None, _peak_since_reset(), opener(way)
    calls.send(None)
    while (folder := calls.recv()) is not None:
        opened = None  # all ways: the one before is not needed any more
        if way == HASHED:
            _forget(cache)
        _peak_since_reset()
        begun = time.process_time()
        opened = open_one(folder)
        seconds = time.process_time() - begun
        calls.send((seconds, _peak() - base, held_out_loss(opened, way)))


def _forget(cache: Path) -> None:
    from pliant.checkpoints import remembered

    remembered._in_this_process.clear()
    for file in cache.glob("fingerprints/*"):
        file.unlink()


_STATUS = Path("/proc/self/status")


def _peak() -> int:
    # not getrusage: a process begins with its parent's peak there
    if not _STATUS.exists():
        return 0
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _peak_since_reset() -> int:
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is in use now; see proc(5)
    return _peak()


def openings(size: Size, ways: tuple[str, ...], count: int, below: Path) -> Openings:
    """Each checkpoint opened by each way in turn; every turn begins with another one.

    Raises:
        AssertionError: two ways find different losses.
    """
    from pliant.checkpoints.weights import stored_fingerprint

    folder = below / size.name.replace(" ", "-")
    model, shard = make(folder, size, count)
    caches = {way: below / "caches" / way.replace(" ", "-") for way in ways}
    spawn, workers = get_context("spawn"), {}
    for way in ways:
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(way, below / "warm" / "0", caches[way], theirs), daemon=True)
        process.start()
        workers[way] = process, mine
    for _, calls in workers.values():
        calls.recv()  # ready
    if OURS in ways:
        os.environ["PLIANT_CACHE"] = str(caches[OURS])
        for number in range(count):
            stored_fingerprint(folder / str(number))  # as planning does, by now long after they were written
    found: dict[str, list[tuple[float, int, float]]] = {way: [] for way in ways}
    for number in range(count):
        first = number % len(ways)
        for way in ways[first:] + ways[:first]:
            calls = workers[way][1]
            calls.send(folder / str(number))
            found[way].append(calls.recv())
    for process, calls in workers.values():
        calls.send(None)
        process.join()
    _agree(found)
    return Openings(
        seconds={way: [seconds for seconds, _, _ in each[1:]] for way, each in found.items()},  # the first builds
        peaks={way: [peak for _, peak, _ in each] for way, each in found.items()},
        model=model,
        shard=shard,
    )


def _agree(found: Mapping[str, list[tuple[float, int, float]]]) -> None:
    for answers in zip(*found.values(), strict=True):
        losses = [loss for _, _, loss in answers]
        apart = max(losses) - min(losses)
        assert apart < AGREE, f"losses of one checkpoint differ by {apart:.1e} nats: these are two different things"


def _memory(size: Size, opened: Openings) -> Figure:
    multiples = [peak / opened.model for peak in opened.peaks[OURS]]
    return Figure(
        what=f"peak memory, {size.name}",
        peer="one model and one shard",
        value=max(multiples),
        low=min(multiples),
        high=max(multiples),
        target=1 + opened.shard / opened.model,
        unit="models",
        at_most=True,
        note=f"from_pretrained {max(opened.peaks[PEER]) / opened.model:.2f}",
    )


def measure(scale: Scale, tell: Tell) -> Row:
    """Times as fast as `from_pretrained` for each of twelve checkpoints, and the memory that it takes."""
    smoke = scale == "smoke"
    small, count = (SMOKE, 3) if smoke else (SMALL, COUNT)
    before = os.environ.get("PLIANT_CACHE")
    try:
        with tempfile.TemporaryDirectory() as place:
            below = Path(place)
            make(below / "warm", SMOKE, 1)
            tell(f"{count} checkpoints of {small.name}")
            first = openings(small, WAYS, count, below)
            others = {}
            for size in () if smoke else (LARGE, HALF):
                tell(f"{count // 2} checkpoints of {size.name}")
                others[size] = openings(size, WAYS, count // 2, below)
    finally:
        os.environ.pop("PLIANT_CACHE") if before is None else os.environ.update(PLIANT_CACHE=before)
    what = f"opening {small.name} of {count} in turn"
    figures = [times_as_fast(what, PEER, first.seconds[PEER], first.seconds[OURS], TARGET)]
    figures += [_memory(size, opened) for size, opened in others.items()]
    every = {small: first, **others}
    return Row(
        work="a dozen checkpoints of one architecture",
        figures=tuple(figures),
        measured={f"{way}, {size.name}": opened.seconds[way] for size, opened in every.items() for way in WAYS},
        notes=tuple(_note(size, opened) for size, opened in every.items()),
    )


def _note(size: Size, opened: Openings) -> str:
    times = ", ".join(f"{way} {1e3 * median(opened.seconds[way]):.1f} ms" for way in WAYS)
    known, hashed = (ratio(opened.seconds[PEER], opened.seconds[way]).value for way in (OURS, HASHED))
    return f"{size.name}: {times}; {known:.1f}x, and {hashed:.1f}x where the files are hashed for the first time"
