"""A quantity at every budget, for every pre-training seed, with the draws and the text behind each value."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pliant.statistics.estimate import Estimate, over_draws, over_seeds

Draws = Mapping[Hashable, float]
"""One value a draw (an antithetic pair is one), keyed by what the draw has in common across budgets."""
At = tuple[int, float]
"""(pre-training seed, budget)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """`draws[seed, budget]` holds the values of that run at that budget; budgets rise, in tokens.

    `text[seed, budget]` holds jackknife pseudo-values over groups of held-out blocks, where blocks are known: their
    mean is the value and their scatter says what other text would have given.
    """

    draws: Mapping[At, Draws]
    text: Mapping[At, tuple[float, ...]] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for seed, _ in self.draws}))

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted({budget for _, budget in self.draws}))

    def values(self) -> NDArray[np.float64]:
        """Means over draws, shape (seeds, budgets); nan where nothing was measured."""
        return np.array([[self.value(seed, budget) for budget in self.budgets] for seed in self.seeds])

    def value(self, seed: int, budget: float) -> float:
        draws = self.draws.get((seed, budget), {})
        return math.fsum(draws.values()) / len(draws) if draws else math.nan

    def at(self, budget: float) -> Estimate:
        """The mean at `budget`: over seeds where there are two or more, else over the draws of the one.

        Raises:
            ValueError: nothing was measured at `budget`.
        """
        seeds = sorted(seed for seed, there in self.draws if there == budget)
        if not seeds:
            raise ValueError(f"nothing was measured at {budget:g} tokens; budgets are {_listed(self.budgets)}")
        if len(seeds) == 1:
            return over_draws(list(self.draws[seeds[0], budget].values()), seed=seeds[0])
        return over_seeds({seed: self.value(seed, budget) for seed in seeds})

    def of_seed(self, seed: int) -> "Curve":
        """The same curve with one seed only."""
        return self._keep({seed})

    def complete(self) -> "Curve":
        """The curve of the seeds measured at every budget: a mean over changing seeds bends by itself."""
        return self._keep({s for s in self.seeds if all((s, budget) in self.draws for budget in self.budgets)})

    def mean(self) -> dict[float, float]:
        """Budget -> mean over seeds of the mean over draws."""
        found: dict[float, list[float]] = {}
        for seed, budget in sorted(self.draws):
            found.setdefault(budget, []).append(self.value(seed, budget))
        return {budget: math.fsum(found[budget]) / len(found[budget]) for budget in sorted(found)}

    def _keep(self, seeds: set[int]) -> "Curve":
        return Curve(
            draws={at: draws for at, draws in self.draws.items() if at[0] in seeds},
            text={at: groups for at, groups in self.text.items() if at[0] in seeds},
        )


def _listed(budgets: tuple[float, ...]) -> str:
    return ", ".join(f"{budget:g}" for budget in budgets) or "none"
