"""How many torch threads a worker has: one each for as many workers as cores, or more in fewer, as measured."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.records.identity import Json
from pliant.studies.memory import SPARE, free_bytes
from pliant.studies.probing import remembered
from pliant.training.cross_entropy import cross_entropies
from pliant.training.decoder import choose_forward

PAYS = 1.1
"""More than one thread a worker must do so much more work in the same time."""
ROUND_SECONDS = 0.15
STEP_FLOP = 1e10
LEAST_TOKENS = 128
BYTES_A_PARAMETER = 12
"""Of a worker: the weights, the base that is put back, and gradients, in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The largest model of a study: what decides how it divides its work over the cores."""

    architecture: Architecture
    vocabulary: int
    streams: int

    @property
    def parameters(self) -> int:
        return self.architecture.parameters(self.vocabulary)


def choose_threads(shape: Shape) -> int:
    """Threads a worker: 1, unless fewer workers of more threads do `PAYS` times as much work in the same time.

    work(t) = min(cores / t, streams) workers, steps a second of them all, each step the losses and gradients of a
    batch; streams are the chains of work that do not wait for one another. Workers that do not fit into memory are not
    asked for. Measured once a machine, about a second.
    """
    cores = os.cpu_count() or 1
    choices = [threads for threads in _divisions(cores) if _fits(shape, cores // threads)]
    if len(choices) < 2:
        return choices[0] if choices else cores
    question: dict[str, Json] = {
        "architecture": asdict(shape.architecture),
        "vocabulary": shape.vocabulary,
        "streams": min(shape.streams, cores),
        "choices": list(choices),
    }
    found = remembered("threads a worker", question, lambda: _work(shape, choices))
    assert isinstance(found, dict), "steps a second by threads"
    work = {threads: float(str(found[str(threads)])) for threads in choices}
    fastest = max(work, key=lambda threads: work[threads])
    return fastest if work[fastest] >= PAYS * work[choices[0]] else choices[0]


def _divisions(cores: int) -> list[int]:
    """1, 2, 4, ... and all of them."""
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power <= cores), cores})


def _fits(shape: Shape, workers: int) -> bool:
    return min(workers, shape.streams) * BYTES_A_PARAMETER * shape.parameters <= SPARE * free_bytes("cpu")


def _work(shape: Shape, choices: Sequence[int]) -> dict[str, Json]:
    """Steps a second of all workers together, by threads a worker: the better of two rounds, in turns."""
    cores, before = os.cpu_count() or 1, torch.get_num_threads()
    step = _step(shape)
    best: dict[int, float] = dict.fromkeys(choices, 0.0)
    try:
        step()
        for _ in range(2):
            for threads in choices:
                best[threads] = max(best[threads], _rate(step, threads, min(cores // threads, shape.streams)))
    finally:
        torch.set_num_threads(before)
    return {str(threads): rate for threads, rate in best.items()}


def _rate(step: Callable[[], object], threads: int, workers: int) -> float:
    """Steps a second of `workers` at once; torch leaves Python's lock while it computes."""
    steps = [0] * workers
    begun = time.perf_counter()

    def work(number: int) -> None:
        torch.set_num_threads(threads)
        while steps[number] == 0 or time.perf_counter() - begun < ROUND_SECONDS:
            step()
            steps[number] += 1

    everyone = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for one in everyone:
        one.start()
    for one in everyone:
        one.join()
    return sum(steps) / (time.perf_counter() - begun)


def _step(shape: Shape) -> Callable[[], object]:
    """The loss and its gradients on one batch; the weights are shared, the gradients each worker's own."""
    model = build_model(shape.architecture, shape.vocabulary, 0)
    parameters = list(model.parameters())
    forward = choose_forward(model, "lean")
    context = min(shape.architecture.context, LEAST_TOKENS)
    rows = max(1, LEAST_TOKENS // context, round(STEP_FLOP / (6 * shape.parameters * context)))
    tokens = torch.randint(shape.vocabulary, (rows, context), generator=torch.Generator().manual_seed(0))
    return lambda: torch.autograd.grad(cross_entropies(forward(model, tokens), tokens).mean(), parameters)
