"""Which summary of the gaps forecasts T* better: the intercept of D/gamma^2 on gamma^2, or the mean of log D?

Ladders are drawn from truths whose T* is known: fourteen budgets from 10 to 300 (arbitrary units of T), three seeds,
three gammas. The mean over seeds has an error of 0.003 nats in the base loss, and in ln D of either kind:

- own: 0.03, each gamma its own
- shared: 0.03 common to the gammas of a checkpoint, and 0.01 of their own

Truths: the law; the law with a constant gamma^4 term of 4-20 % or 16-55 % of the largest gamma's gap; and the spectrum
model, in which mode i of a target with singular values i^-a is learned as
s_i(t) = sigma_i / (1 + (sigma_i/s0 - 1) exp(-2 sigma_i t)), the base loss is sum (sigma_i - s_i)^2 and Gaussian noise
adds gamma^2 (m+n) sum s_i + gamma^4 m h n (own algebra for the two-layer linear network of arXiv 2503.19206).

    python benchmarks/forecast_choice.py --repeats 60

prints, for both summaries, the median error factor of T* and the coverage of nominal 90 % and 95 % intervals.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import gmean

from pliant.statistics import Curve
from pliant.statistics.forecast import forecast
from pliant.statistics.gaps import Summary
from pliant.theory.modes import base_loss, mode_flow

BUDGETS = np.geomspace(10, 300, 14)
SEEDS = 3
BASE_SD, GAP_SD, OWN_SD = 0.003, 0.03, 0.01
SUMMARIES: tuple[Summary, ...] = ("mean log", "intercept")
NEAR = 3.0
"""Farther T* are shown, but a forecast calls them "not reached": they do not count in the choice."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Base loss and gap as functions, the gammas with T* of each, and whether gammas share checkpoint noise."""

    name: str
    base: Callable[[np.ndarray], np.ndarray]
    gap: Callable[[np.ndarray, float], np.ndarray]
    gammas: tuple[float, ...]
    t_star: tuple[float, ...]
    shared: bool = False


def law(name: str, fourth: float = 0.0, shared: bool = False) -> Truth:
    """alpha .35, beta .55, A = 2, T* = 100, 467 and 2177 at gamma 1, .5, .25; `fourth` x B gamma^4 on top."""
    alpha, beta, A = 0.35, 0.55, 2.0
    B = A * alpha / beta / 100 ** (alpha + beta)
    gammas = (1.0, 0.5, 0.25)
    return Truth(
        name=name,
        base=lambda T: 1.5 + A * T**-alpha,
        gap=lambda T, gamma: B * gamma**2 * T**beta + fourth * B * gamma**4,
        gammas=gammas,
        t_star=tuple((alpha * A / (beta * B * g**2)) ** (1 / (alpha + beta)) for g in gammas),
        shared=shared,
    )


def spectrum(
    decay: float, *, fourth: float = 0.0, rank: int = 8192, s0: float = 1e-6, shared: bool = False, unit: bool = False
) -> Truth:
    """sigma_i = i^-decay, gap gamma^2 (sum s_i + `fourth` x gamma^2 / gamma_1^2 x sum s_i at T = 300).

    gamma^2 is in units that absorb m + n; gammas are chosen so that T* = 150, 500 and 1500, gamma_1 the largest.
    The rank leaves modes to learn at the last of these. With `unit` the target has |A|^2 = sum sigma_i^2 = 1, so that
    the noise is 1.6 to 3.7 times larger beside them.
    """
    sigma = np.arange(1, rank + 1.0) ** -decay
    times = np.geomspace(5, 6000, 400)

    def base(t: np.ndarray) -> np.ndarray:
        return np.asarray(base_loss(mode_flow(t, sigma, s0), sigma))

    def learned(t: np.ndarray) -> np.ndarray:
        return np.asarray(mode_flow(t, sigma, s0).sum(axis=-1))

    falls, grows = base(times), learned(times)

    def turn(log_gamma: float) -> float:
        """The lowest point of all (the curve is a staircase): a scan, then a parabola through three."""
        values = falls + math.exp(2 * log_gamma) * grows
        place = min(max(int(np.argmin(values)), 1), len(times) - 2)
        near = slice(place - 1, place + 2)
        bend, slope, _ = np.polyfit(np.log(times[near]), values[near], 2)
        return math.exp(-slope / (2 * bend))

    targets = (150.0, 500.0, 1500.0)
    gammas = tuple(
        math.exp(brentq(lambda u, to=target: math.log(turn(u) / to), math.log(3e-3), 0.0, xtol=1e-6))
        for target in targets
    )
    scale = float(np.sum(sigma**2)) if unit else 1.0
    constant = fourth * float(learned(np.array([300.0]))[0])
    return Truth(
        name=f"spectrum i^-{decay:g}" + (" + gamma^4" if fourth else "") + (", unit target" if unit else ""),
        base=lambda t: base(t) / scale,
        gap=lambda t, gamma: gamma**2 * (learned(t) + constant * (gamma / gammas[0]) ** 2) / scale,
        gammas=gammas,
        t_star=targets,
        shared=shared,
    )


def draw(truth: Truth, generator: np.random.Generator) -> tuple[Curve, dict[float, Curve]]:
    """One ladder: base and modified curves of three seeds with errors that average to the stated size."""
    scale = math.sqrt(SEEDS)
    count = len(BUDGETS)
    base = truth.base(BUDGETS) + generator.normal(0, BASE_SD * scale, (SEEDS, count))
    common = generator.normal(0, GAP_SD * scale, (SEEDS, count)) if truth.shared else 0.0
    own = OWN_SD if truth.shared else GAP_SD
    modified = {}
    for gamma in truth.gammas:
        errors = common + generator.normal(0, own * scale, (SEEDS, count))
        modified[gamma] = curve(base + truth.gap(BUDGETS, gamma) * np.exp(errors))
    return curve(base), modified


def curve(values: np.ndarray) -> Curve:
    return Curve(
        draws={
            (s, float(T)): {"mean": float(v)} for s, row in enumerate(values) for T, v in zip(BUDGETS, row, strict=True)
        }
    )


def row(truth: Truth, summary: Summary, repeats: int, seed: int) -> list[tuple[float, float, float]]:
    """For each gamma: median error factor, coverage at 90 % and at 95 %."""
    results: list[list[tuple[float, bool, bool]]] = [[] for _ in truth.gammas]
    for repeat in range(repeats):
        base, modified = draw(truth, np.random.default_rng((seed, repeat)))
        found = forecast(base, modified, summary=summary)
        for place, (gamma, true) in enumerate(zip(truth.gammas, truth.t_star, strict=True)):
            point = next(p for p in found.turning_points if p.gamma == gamma)
            off = abs(math.log(point.t_star / true)) if 0 < point.t_star < math.inf else math.inf
            halves = [
                math.hypot(float(stdtrit(min(found.fit.points.dof, 1e9), level)) * point.standard_error, point.shift)
                for level in (0.95, 0.975)
            ]
            results[place].append((off, off <= halves[0], off <= halves[1]))
    return [
        (
            math.exp(np.median([r[0] for r in rs])),
            float(np.mean([r[1] for r in rs])),
            float(np.mean([r[2] for r in rs])),
        )
        for rs in results
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60, help="ladders a truth (default 60)")
    parser.add_argument("--seed", type=int, default=5, help="of the noise (default 5)")
    options = parser.parse_args()
    truths = [
        law("law"),
        law("law, shared noise", shared=True),
        law("law + gamma^4, 4-20 %", fourth=0.887),
        law("law + gamma^4, 16-55 %", fourth=4.336),
        law("the same, shared noise", fourth=4.336, shared=True),
        *(spectrum(decay) for decay in (0.65, 0.7, 0.85, 1.0)),
        spectrum(0.7, fourth=0.2),
        spectrum(0.7, shared=True),
        *(spectrum(decay, unit=True) for decay in (0.65, 0.7, 0.85, 1.0)),
    ]
    print("| truth | T* / T_max | mean log: error factor | 90 % | 95 % | intercept: error factor | 90 % | 95 % |")
    print("|---|---|---|---|---|---|---|---|")
    near: dict[str, list[tuple[float, float, float]]] = {summary: [] for summary in SUMMARIES}
    for truth in truths:
        both = [row(truth, summary, options.repeats, options.seed) for summary in SUMMARIES]
        name = truth.name + (", shared noise" if truth.shared and "shared" not in truth.name else "")
        for place, true in enumerate(truth.t_star):
            cells = [f"{f:.2f} | {c90:.2f} | {c95:.2f}" for f, c90, c95 in (b[place] for b in both)]
            print(f"| {name} | {true / BUDGETS[-1]:.2f} | {' | '.join(cells)} |", flush=True)
            if true <= NEAR * BUDGETS[-1]:
                for summary, cell in zip(SUMMARIES, both, strict=True):
                    near[summary].append(cell[place])
    for chosen, rows in near.items():
        factors, at90, at95 = (np.array(values) for values in zip(*rows, strict=True))
        print(
            f"{chosen}: over the {len(rows)} rows with T* <= {NEAR:g} T_max the error factor is {gmean(factors):.3f} "
            f"on average and {factors.max():.2f} at worst; coverage {at90.mean():.2f} (worst {at90.min():.2f}) at 90 % "
            f"and {at95.mean():.2f} (worst {at95.min():.2f}) at 95 %"
        )


if __name__ == "__main__":
    main()
