"""What pre-training is computed with, by the size of the model, the length of the run and what this machine does."""

from collections.abc import Callable
from typing import Any

import torch

from pliant.records.numerics import Numerics, Trainer
from pliant.training.by_kernel.layout import by_kernel
from pliant.training.decoder import choose_forward
from pliant.training.flat_trainer import FlatTrainer
from pliant.training.flat_weights import flattens
from pliant.training.loop import AutogradLearner, Learner, Optimisation

COMPILED_SECONDS = 60.0
"""What compiling one shape may cost a process, on a core: 40 s were measured at 1.9M parameters."""
SAVED_SECONDS = 2e-6
"""What compiling is taken to save of each token and layer at the least: the passes over memory between products."""
BFLOAT16_FROM = 128
"""Width from which products in bfloat16 on matrix units are taken to gain more than their casts cost."""


def choose_trainer(
    *, width: int, layers: int, tokens: int, matrix_units: bool, compiling_works: Callable[[], bool]
) -> Trainer | None:
    """For training a model of `width` and `layers` on `tokens` in one process, on a CPU.

    Compiling has to save more than it costs, and nothing else gains much; whether it works is asked only then.
    `matrix_units` is whether the CPU multiplies bfloat16 on units of its own.
    """
    if tokens * layers * SAVED_SECONDS < COMPILED_SECONDS or not compiling_works():
        return None
    return "compiled-bf16" if matrix_units and width >= BFLOAT16_FROM else "compiled"


def has_matrix_units() -> bool:
    """Whether this CPU has AMX for bfloat16."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def learner_of(
    numerics: Numerics,
    model: Any,
    optimizer: torch.optim.AdamW,
    optimisation: Optimisation,
    *,
    micro_batch: int | None = None,
) -> Learner:
    """What takes the steps of pre-training `model` under the plan `numerics`; `optimizer` is that of `optimisation`."""
    how: dict[str, Any] = {"clip_norm": optimisation.clip_norm, "micro_batch": micro_batch}
    if micro_batch is None and by_kernel(model, numerics):
        from pliant.training.by_kernel.learner import InPlace

        return InPlace(model, optimizer, optimisation)
    if numerics.trainer is not None and flattens(model):
        return FlatTrainer(model, optimizer, numerics.trainer, **how)
    return AutogradLearner(model, optimizer, choose_forward(model, numerics.forward), **how)
