"""One linear model with all its settings: what `pliant theory` draws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pliant.theory.domain import Numbers, not_negative, positive
from pliant.theory.inflection import Inflection, inflections
from pliant.theory.modes import mode_flow, power_law
from pliant.theory.perturbed import perturbed_loss

Spectrum = Float[np.ndarray, " r"]


def _tail(sigma: Spectrum) -> np.ndarray:
    return np.arange(len(sigma)) >= len(sigma) // 2


TASKS: Mapping[str, Callable[[Spectrum], Spectrum]] = {
    "reversed": lambda sigma: sigma[::-1].copy(),
    "tail": lambda sigma: np.where(_tail(sigma), 3 * sigma, sigma),
    "double": lambda sigma: 2 * sigma,
    "new-tail": lambda sigma: np.where(_tail(sigma), 0.8 * sigma[0], sigma),
    "same": lambda sigma: sigma.copy(),
}
"""Singular values of fine-tuning tasks, from those of the pre-training target.

reversed: the weakest features become the strongest. tail: the weaker half of the features is three times as strong.
double: all are. new-tail: the weaker half is raised to 0.8 of the strongest. same: the task is the target.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """A two-layer linear network, all widths equal to its rank, and its training.

    `rank`: number of modes, outputs, inputs and hidden units. `alpha`: singular values of the target are i^-alpha.
    `s0`: strength of every mode at time 0. `horizon`: time at which pre-training ends, learning rate x steps.
    """

    rank: int = 64
    alpha: float = 0.7
    s0: float = 1e-6
    horizon: float = 400.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}: give 1 or more")
        not_negative(alpha=self.alpha)
        positive(s0=self.s0, horizon=self.horizon)
        weakest = float(self.sigma[-1])
        if self.s0 >= weakest:
            raise ValueError(
                f"s0 is {self.s0:g}, but the weakest singular value is {weakest:.3g}: give an s0 below it, so that "
                "every mode has something to learn"
            )

    @property
    def sigma(self) -> Spectrum:
        return power_law(self.rank, self.alpha)

    @property
    def clean_start(self) -> float:
        """||A||^2, the loss of a network that has learned nothing."""
        return float(np.sum(self.sigma**2))

    @property
    def budgets(self) -> Float[np.ndarray, " budgets"]:
        """200 pre-training times, geometric, up to the horizon."""
        return np.geomspace(self.horizon / 400, self.horizon, 200)

    def states(self, t: Numbers) -> Float[np.ndarray, "*times r"]:
        """Strengths of the modes at time t."""
        return mode_flow(t, self.sigma, self.s0)

    def perturbed(self, t: Numbers, gamma: Numbers, wd: float = 0.0) -> Float[np.ndarray, "..."]:
        """Expected loss under noise of std gamma in both layers, after training with weight decay wd."""
        return perturbed_loss(t, gamma, self.sigma, self.s0, self.rank, self.rank, self.rank, wd)

    def inflections(self, gammas: Float[np.ndarray, " strengths"]) -> tuple[Inflection, ...]:
        """Where the perturbed loss is lowest up to the horizon."""
        widths = (self.rank, self.rank, self.rank)
        return inflections(gammas, self.sigma, self.s0, *widths, horizon=self.horizon)

    def task(self, name: str) -> Spectrum:
        """Singular values of the task of that name.

        Raises:
            ValueError: no such task.
        """
        if name not in TASKS:
            raise ValueError(f"no task is called {name!r}: give one of {', '.join(TASKS)}")
        return TASKS[name](self.sigma)
