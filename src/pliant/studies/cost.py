"""Estimated seconds of work, for the order of tasks and for telling the user beforehand."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pliant.training.by_kernel.layout import WIDEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Training updates of `update_tokens` each, tokens evaluated without gradients, random numbers drawn; `by_kernel`
    where the kernel of tiny models does this."""

    updates: int = 0
    update_tokens: int = 0
    evaluated_tokens: int = 0
    drawn: int = 0
    by_kernel: bool = False

    def seconds(self, width: int, parameters: int) -> float:
        """Seconds of one core of the reference machine (a 3 GHz server core at `machine_factor` 1).

        An update has a fixed cost (dispatch), each token one that grows with width (pointwise work in memory) and
        one of 6 FLOP a parameter at 1e11 FLOP/s; with the kernel the two costs beside are next to nothing. Evaluating
        costs a third, a random number 6 ns. Fitted to tiny models, +-50 %.
        """
        update, beside = (4e-5, 1.6e-7) if self.by_kernel and width <= WIDEST else (2.5e-3, 2e-6 + 1.4e-7 * width)
        token = beside + 6 * parameters / 1e11
        trained = self.updates * (update + self.update_tokens * token)
        return trained + self.evaluated_tokens * token / 3 + 6e-9 * self.drawn


def machine_factor() -> float:
    """How much slower this machine is now than the reference: a 10 ms mix of dispatch, exponentials and Python."""
    values = np.linspace(0.0, 1.0, 4096)
    return max(0.3, min(_workload(values), _workload(values)) / 3.3e-3)


def _workload(values: Float[np.ndarray, " values"]) -> float:
    begun = time.perf_counter()
    for _ in range(1500):
        np.add(values, values)
    for _ in range(200):
        np.exp(values)
    sum(number for number in range(50_000))
    return time.perf_counter() - begun
