"""Training by the kernel: gradients and updates on one flat array of weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float

from pliant.checkpoints.weights import canonical_tensors
from pliant.kernel.llama import run
from pliant.kernel.update import update
from pliant.training.by_kernel.batch import Rows
from pliant.training.by_kernel.layout import Layout, angles
from pliant.training.loop import Batch, Optimisation
from pliant.training.stack import Trained

Row = Float[np.ndarray, " size"]


@final
class KernelLearner:
    """A `Learner` of the model's shape, on `weights` and the moments `first` and `second` of `steps` updates before,
    all of which it changes in place."""

    def __init__(
        self, model: Any, optimisation: Optimisation, *, weights: Row, first: Row, second: Row, steps: int = 0
    ) -> None:
        self._model, self._optimisation, self._layout = model, optimisation, Layout.of(model)
        self._weights, self._first, self._second, self._steps = weights, first, second, steps
        self._gradient, self._decay = np.zeros_like(weights), np.zeros_like(weights)
        tensors = canonical_tensors(model)
        for name, view in self._layout.views(self._decay, tensors).items():
            view[...] = optimisation.weight_decay if tensors[name].ndim >= 2 else 0.0

    def gradient(self, batch: Batch, step: int) -> float:
        """The mean loss of `batch`; its gradient is kept for `update`."""
        return self.gradient_of(rows_of(self._model, batch))

    def gradient_of(self, rows: Rows) -> float:
        """The same of rows that are prepared, as several learners take them."""
        layout, scored = self._layout, rows.scored
        losses = np.empty(rows.tokens.shape, dtype=np.float32)
        how = (layout.where, layout.shape, layout.epsilon, *angles(self._model, rows.tokens.shape[1]))
        run(self._weights, self._gradient, *how, rows.tokens, rows.targets, np.float32(1 / scored), losses, True)
        return float(losses.sum(dtype=np.float64)) / scored

    def update(self, learning_rate: float) -> bool:
        """Take the step; False, and the weights are as they were, where the gradient is not finite."""
        how = self._optimisation
        settings = (learning_rate, how.clip_norm, how.beta1, how.beta2, how.epsilon, self._steps + 1)
        norm = update(self._weights, self._gradient, self._first, self._second, self._decay, *settings)
        self._steps += math.isfinite(norm)
        return math.isfinite(norm)


def rows_of(model: Any, batch: Batch) -> Rows:
    """The rows of `batch` for the kernel."""
    assert batch.segments is None, "packed rows go through transformers"
    return Rows.of(batch.inputs, batch.targets, model.config.vocab_size)


@final
class InPlace:
    """A `Learner` that trains `model` itself and keeps its moments in `optimizer`, where a snapshot looks for them."""

    def __init__(self, model: Any, optimizer: torch.optim.AdamW, optimisation: Optimisation) -> None:
        layout, tensors = Layout.of(model), canonical_tensors(model)
        known = {name: optimizer.state[tensor] for name, tensor in tensors.items()}
        steps = max((int(state["step"]) for state in known.values() if state), default=0)
        moments = {key: _moments(layout, tensors, known, key) for key in ("exp_avg", "exp_avg_sq")}
        weights = layout.flat(tensors)
        self._counts = np.full(len(tensors), steps, dtype=np.float32)
        views = {key: layout.views(row, tensors) for key, row in moments.items()}
        for number, (name, view) in enumerate(layout.views(weights, tensors).items()):
            tensors[name].data = torch.from_numpy(view)
            state = {key: torch.from_numpy(of[name]) for key, of in views.items()}
            optimizer.state[tensors[name]] = {"step": torch.from_numpy(self._counts)[number], **state}
        first, second = moments.values()
        self._learner = KernelLearner(model, optimisation, weights=weights, first=first, second=second, steps=steps)

    def gradient(self, batch: Batch, step: int) -> float:
        return self._learner.gradient(batch, step)

    def update(self, learning_rate: float) -> bool:
        taken = self._learner.update(learning_rate)
        self._counts += taken
        return taken


def _moments(layout: Layout, tensors: dict[str, torch.Tensor], known: dict[str, Any], key: str) -> Row:
    row = np.zeros(layout.size, dtype=np.float32)
    for name, view in layout.views(row, tensors).items():
        if known[name]:
            view[...] = known[name][key].numpy()
    return row


def train_copies(
    model: Any,
    rates: Sequence[Callable[[int], float]],
    optimisation: Optimisation,
    batches: Iterator[Batch],
    steps: int,
) -> list[Trained]:
    """`stack.train_stack` by the kernel: a copy of `model` after the other for each of `rates`, on the same batches."""
    layout, tensors = Layout.of(model), canonical_tensors(model)
    rows = [rows_of(model, next(batches)) for _ in range(steps)]
    return [_trained(model, layout, layout.flat(tensors), rate, optimisation, rows) for rate in rates]


def _trained(
    model: Any,
    layout: Layout,
    weights: Row,
    rate: Callable[[int], float],
    optimisation: Optimisation,
    rows: Sequence[Rows],
) -> Trained:
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    learner = KernelLearner(model, optimisation, weights=weights, first=first, second=second)
    losses: list[float] = []
    for step, batch in enumerate(rows):
        losses.append(learner.gradient_of(batch))
        if not math.isfinite(losses[-1]) or not learner.update(rate(step)):
            break
    else:
        step = len(rows)
    views = layout.views(weights, canonical_tensors(model))
    return Trained(
        tensors={name: torch.from_numpy(view) for name, view in views.items()},
        losses=tuple(losses),
        diverged_at=step if step < len(rows) else None,
    )
