"""A step of pre-training: ours against transformers' Trainer at its best of precisions, compiled or not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pliant.benchmarks.peak import gemm_peak
from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.stepping import SteppingTrainer
from pliant.benchmarks.turns import best, in_turns, times_as_fast
from pliant.checkpoints.architecture import Architecture, build_model
from pliant.records.numerics import Trainer
from pliant.training.decoder import choose_forward, transformers_logits
from pliant.training.loop import AutogradLearner, Batch, Learner, Optimisation, adamw, take_steps
from pliant.training.trainer_choice import choose_trainer, learner_of

ROWS, LENGTH = 8, 128
RATE = 1e-3
OURS = "pliant"
PEERS: dict[str, dict[str, bool]] = {
    "Trainer, fp32": {},
    "Trainer, bf16": {"bf16": True},
    "Trainer, fp32, torch_compile": {"torch_compile": True},
    "Trainer, bf16, torch_compile": {"bf16": True, "torch_compile": True},
}
AGREE = 0.02
"""Of the loss: the same steps in bf16 and fp32, compiled and not, part by rounding alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and how many steps of it make a turn."""

    what: str
    shape: Architecture
    vocabulary: int
    steps: int
    target: float


def _case(what: str, width: int, layers: int, feed_forward: int, vocabulary: int, steps: int, target: float) -> Case:
    shape = Architecture(
        width=width, layers=layers, heads=max(4, width // 32), feed_forward=feed_forward, context=LENGTH
    )
    return Case(what=what, shape=shape, vocabulary=vocabulary, steps=steps, target=target)


CASES = (
    _case("40k parameters", 32, 2, 80, 256, 40, 2.0),
    _case("0.13M parameters", 64, 2, 176, 256, 25, 1.5),
    _case("1.9M parameters", 128, 4, 336, 4096, 8, 1.8),
    _case("7M parameters", 256, 6, 680, 4096, 3, 2.0),
    _case("32M parameters", 256, 8, 680, 50_304, 1, 2.2),
)
