"""Ladders with a known truth, for the calibration page and its reduced version in the tests.

Losses are in units of the pooled standard deviation of run x budget noise, so that a margin of `MARGIN` is half a
standard deviation. A run is a row: truth + an offset of its own + noise of every budget.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pliant.theory.modes import power_law
from pliant.theory.perturbed import perturbed_loss

Array = NDArray[np.float64]
Noise = Literal["equal", "rising 3x", "falling 3x", "slopes", "random walk", "noisy last", "noisy middle"]
NOISES: tuple[Noise, ...] = (
    "equal", "rising 3x", "falling 3x", "slopes", "random walk", "noisy last", "noisy middle",
)  # fmt: skip

MARGIN = 0.5
OFFSET = 1.0
"""Standard deviation of what a run adds to all its budgets alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One truth under one kind of noise; `text` is the standard deviation of noise common to all runs, if any.

    `seeds` counts replicates: pre-training runs, or the draws of one run (then the truth is that run's).
    """

    family: str
    truth: tuple[float, ...]
    noise: Noise
    seeds: int
    text: float = 0.0

    @property
    def rise(self) -> float:
        """The last budget above the best earlier one."""
        return self.truth[-1] - min(self.truth[:-1])

    @property
    def deep(self) -> bool:
        """Whether every other budget lies four standard errors (of a difference) or more above the lowest."""
        others = sorted(self.truth)[1]
        error = float(np.sqrt(2 * (1 / self.seeds + self.text**2 / TEXT_GROUPS)))
        return self.noise == "equal" and others - min(self.truth) >= 4 * error - 1e-9

    def sample(self, n: int, generator: np.random.Generator) -> tuple[Array, Array | None]:
        """n ladders: rows (n, seeds, budgets) and text (n, groups, budgets) or None."""
        truth = np.array(self.truth)
        shape = (n, self.seeds, len(truth))
        rows = truth + OFFSET * generator.normal(size=(n, self.seeds, 1)) + _noise(self.noise, shape, generator)
        if not self.text:
            return rows, None
        groups = self.text * generator.normal(size=(n, TEXT_GROUPS, len(truth)))
        common = groups.mean(axis=1, keepdims=True)
        return rows + common, (rows + common).mean(axis=1, keepdims=True) + groups - common


TEXT_GROUPS = 10


def _noise(kind: Noise, shape: tuple[int, int, int], generator: np.random.Generator) -> Array:
    """Noise of run x budget with pooled variance near 1."""
    place = np.linspace(-1, 1, shape[-1])
    noise = generator.normal(size=shape)
    if kind in ("rising 3x", "falling 3x"):
        ramp = 3.0 ** (place / 2 if kind == "rising 3x" else -place / 2)
        return np.asarray(noise * ramp / np.sqrt(np.mean(ramp**2)))
    if kind == "slopes":
        return np.asarray((noise + generator.normal(size=(*shape[:2], 1)) * place) / np.sqrt(1 + np.mean(place**2)))
    if kind == "random walk":
        return np.asarray(np.cumsum(noise, axis=-1) / np.sqrt(2))
    if kind == "noisy last":
        noise[..., -1] *= 2
    if kind == "noisy middle":  # where the U shapes have their minimum
        noise[..., shape[-1] // 2 : shape[-1] // 2 + 2] *= 3
    return noise


def scenarios() -> Iterator[Scenario]:
    """Every scenario of the page."""
    for seeds in (2, 3, 5):
        for budgets in (5, 7, 12):
            for family, truth in shapes(budgets).items():
                yield Scenario(family=family, truth=tuple(truth), noise="equal", seeds=seeds)
        for noise in NOISES[1:]:
            for family in ("flat", "falling slowly", "part-flat", "power law, rise = margin", "power law, rise 4.5"):
                yield Scenario(family=family, truth=tuple(shapes(7)[family]), noise=noise, seeds=seeds)
        deep = _deep(4 * float(np.sqrt(2 / seeds)))
        yield Scenario(family="deep minimum", truth=deep, noise="equal", seeds=seeds)
        for family in ("flat", "part-flat", "power law, rise = margin", "power law, rise 4.5"):
            yield Scenario(
                family=f"{family}, shared text", truth=tuple(shapes(7)[family]), noise="equal", seeds=seeds, text=2
            )
    for family, truth in shapes(7).items():
        yield Scenario(family=f"one run, 8 draws: {family}", truth=tuple(truth), noise="equal", seeds=8)
    yield Scenario(family="one run, 8 draws: deep minimum", truth=_deep(2.0), noise="equal", seeds=8)
    yield Scenario(
        family="one run, 10 groups of text: flat", truth=tuple(shapes(7)["flat"]), noise="random walk", seeds=10
    )


def shapes(budgets: int) -> dict[str, Array]:
    """Truths over budgets a factor of two apart, in units of the noise."""
    k = np.arange(budgets)
    half = budgets // 2
    return {
        "flat": np.zeros(budgets),
        "part-flat": np.maximum(half - k, 0) * 3.0,
        "falling slowly": 0.3 * k[::-1],
        "falling steeply": 4.0 * k[::-1],
        "staircase": 3.0 * ((budgets - 1 - k) // 2 + (k == 0)),
        "staircase, rise = margin": np.where(k == budgets - 1, MARGIN, 3.0 * ((budgets - 2 - k) // 2)),
        "minimum first, rise = margin": np.where(k == 0, 0.0, MARGIN),
        "minimum first, rise 4.5": 4.5 * k / k[-1],
        "power law, rise = margin": _power(budgets, MARGIN),
        "power law, rise 4.5": _power(budgets, MARGIN + 4),
        "theory, rise 4.5": _theory(budgets, MARGIN + 4),
        "theory, rise = margin": _theory(budgets, MARGIN),
    }


def power_curve() -> Iterator[tuple[int, float, Scenario]]:
    """(seeds, rise above the margin in pooled standard deviations, scenario) for the power curve."""
    for seeds in (2, 3, 5):
        for above in np.arange(-1.0, 8.01, 0.5):
            truth = _power(7, MARGIN + float(above)) if above > -MARGIN else np.zeros(7)
            yield seeds, float(above), Scenario(family="power", truth=tuple(truth), noise="equal", seeds=seeds)


def _power(budgets: int, rise: float) -> Array:
    """A T^-0.5 + B T^0.7 with its minimum near 60 % of the ladder, scaled to a fall of 10 and the given rise."""
    x = np.linspace(-0.6, 0.4, budgets) * (budgets - 1) * np.log(2)
    curve = 0.7 * np.exp(-0.5 * x) + 0.5 * np.exp(0.7 * x)
    low = int(np.argmin(curve))
    curve = curve - curve[low]
    left, right = curve / curve[0] * 10, curve / curve[-1] * rise
    return np.asarray(np.where(np.arange(budgets) < low, left, right))


def _theory(budgets: int, rise: float) -> Array:
    """The perturbed loss of the two-layer linear network over a window around its minimum, scaled likewise."""
    sigma = power_law(64, 0.7)
    times = np.geomspace(2.0, 60.0, budgets)
    curve = np.asarray(perturbed_loss(times, 0.06, sigma, 1e-6, 64, 64, 64))
    low = int(np.argmin(curve))
    assert 0 < low < budgets - 1
    curve = curve - curve[low]
    return np.asarray(np.where(np.arange(budgets) < low, curve / curve[0] * 10, curve / curve[-1] * rise))


def _deep(depth: float) -> tuple[float, ...]:
    """Seven budgets whose neighbours of the minimum lie exactly `depth` above it, and the last too."""
    return tuple(depth * np.array([4, 2.5, 1, 0, 1, 1.5, 1]))
