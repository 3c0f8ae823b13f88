"""When more training begins to hurt the perturbed loss of a two-layer linear network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from pliant.theory.domain import Numbers, not_negative, positive
from pliant.theory.modes import base_loss, logistic, mode_flow, time_to_reach
from pliant.theory.perturbed import perturbed_loss, sensitivity, shrinkage

Kind = Literal["down", "U", "up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflection:
    """Where the perturbed loss is lowest between time 0 and the horizon, and how it gets there and on.

    `drop` is the loss at time 0 minus `loss_star`, `rise` the loss at the horizon minus it. `kind` is "U" if both
    exceed the tolerance, "up" if the rise alone does, else "down". `t` and `curve` are the times scanned and the
    loss at each.
    """

    gamma: float
    t_star: float
    loss_star: float
    drop: float
    rise: float
    kind: Kind
    t: Float[np.ndarray, " times"]
    curve: Float[np.ndarray, " times"]


def mode_inflection(
    gamma: float, sigma: Float[np.ndarray, " r"], s0: Numbers, m: int, n: int, wd: float = 0.0
) -> Float[np.ndarray, " r"]:
    """When each mode stops lowering the perturbed loss: as its residual sigma_i - s_i falls to g.

    With g = gamma^2 (m + n)/2 and no weight decay t_i = ln[(sigma_i/s0 - 1)(sigma_i - g)/g] / (2 sigma_i); in
    general, when s_i of `mode_flow` passes sigma_i - g. A mode that hurts from the start has 0, one that never
    does (no noise, or weight decay of at least g) inf.

    Raises:
        ValueError: arguments out of range.

    Source: own derivation.
    """
    not_negative(sigma=sigma, wd=wd)
    positive(s0=s0)
    best = sigma - shrinkage(gamma, m, n)
    helps = (sigma - wd - s0) * (best - s0) > 0
    return np.where(helps, time_to_reach(best, sigma - wd, s0), 0.0)


def predicted_inflection(gamma: Numbers, s0: float, m: int, n: int) -> Float[np.ndarray, "..."]:
    """ln(2g/s0) / (4g) with g from `shrinkage`: the inflection whatever the spectrum, if its modes are dense.

    From a small s0 modes are learned in steps, the strong ones first, and learning mode i pays if sigma_i > 2g;
    this is the learning time of a mode at sigma = 2g. inf without noise; 0 where 2g <= s0.

    Raises:
        ValueError: a gamma that is negative or not finite, or an s0 that is not above zero.

    Source: own derivation.
    """
    positive(s0=s0)
    twice = 2 * shrinkage(gamma, m, n)
    noisy = twice > 0
    safe = np.where(noisy, twice, 1.0)
    return np.where(noisy, np.maximum(np.log(safe / s0), 0) / (2 * safe), np.inf)


def inflection(
    gamma: float,
    sigma: Float[np.ndarray, " r"],
    s0: Numbers,
    m: int,
    n: int,
    h: int,
    *,
    horizon: float,
    wd: float = 0.0,
    grid: int = 600,
    rel_tol: float = 0.01,
) -> Inflection:
    """`inflections` at one strength."""
    strengths = np.array([gamma], float)
    return inflections(strengths, sigma, s0, m, n, h, horizon=horizon, wd=wd, grid=grid, rel_tol=rel_tol)[0]


def inflections(
    gammas: Float[np.ndarray, " strengths"],
    sigma: Float[np.ndarray, " r"],
    s0: Numbers,
    m: int,
    n: int,
    h: int,
    *,
    horizon: float,
    wd: float = 0.0,
    grid: int = 600,
    rel_tol: float = 0.01,
) -> tuple[Inflection, ...]:
    """The time at which the perturbed loss is lowest, for each noise strength.

    The perturbed loss falls in a staircase with many local minima, so it is first scanned at time 0 and on a
    logarithmic grid; within the best cell the root of

        dL/dt = 2 sum_i s_i' [g - (sigma_i - s_i)],  s_i' = 2 s_i (sigma_i - wd - s_i)

    is found by Brent's method. Whatever the spectrum, a stronger noise never has its inflection later: the loss is
    L0(t) + gamma^2 S(t) + constant, and S grows if all modes do.

    Args:
        gammas: noise stds of both layers, (strengths,).
        sigma: singular values of the target, (r,).
        s0: strength of the modes at t = 0, a number or (r,).
        horizon: the time at which training ends, in units of 1/target.
        wd: weight decay in training, in units of the target.
        grid: times in the scan, from 0.01/sigma_1 (or 0.01 horizon) to the horizon.
        rel_tol: a drop or rise counts if it exceeds this share of ||A||^2 = sum sigma^2.

    Raises:
        ValueError: arguments out of range, m, n or h below r, or a grid of fewer than 3 times.

    Source: own derivation.
    """
    positive(horizon=horizon)
    not_negative(rel_tol=rel_tol)
    if grid < 3:
        raise ValueError(f"grid={grid} is too coarse to find a minimum: give 3 times or more")
    t = _scan(horizon, float(np.max(sigma)), grid)
    s = mode_flow(t, sigma, s0, wd=wd)
    curves = base_loss(s, sigma) + sensitivity(s, gammas, m, n, h)
    tolerance = rel_tol * float(np.sum(sigma**2))
    found = []
    for gamma, curve in zip(gammas.tolist(), curves, strict=True):
        slope = partial(_slope, g=float(shrinkage(gamma, m, n)), sigma=sigma, s0=s0, wd=wd)
        t_star = _lowest(t, curve, slope)
        loss_star = float(perturbed_loss(t_star, gamma, sigma, s0, m, n, h, wd))
        drop, rise = float(curve[0]) - loss_star, float(curve[-1]) - loss_star
        found.append(
            Inflection(
                gamma=gamma,
                t_star=t_star,
                loss_star=loss_star,
                drop=drop,
                rise=rise,
                kind=_kind(drop > tolerance, rise > tolerance),
                t=t,
                curve=curve,
            )
        )
    return tuple(found)


def _scan(horizon: float, sigma_1: float, grid: int) -> Float[np.ndarray, " times"]:
    """0, and a log grid from well before anything is learned."""
    t = np.geomspace(min(0.01 / sigma_1, 0.01 * horizon), horizon, grid)
    t[-1] = horizon
    return np.concatenate([[0.0], t])


def _slope(t: Numbers, *, g: float, sigma: Float[np.ndarray, " r"], s0: Numbers, wd: float) -> Float[np.ndarray, "..."]:
    """dL/dt of the perturbed loss at shrinkage g."""
    s = logistic(np.asarray(t)[..., None], sigma - wd, s0)
    return np.asarray(4 * np.sum(s * (sigma - wd - s) * (g - sigma + s), axis=-1))


def _lowest(
    t: Float[np.ndarray, " k"], curve: Float[np.ndarray, " k"], slope: Callable[[Numbers], Float[np.ndarray, "..."]]
) -> float:
    """The root of `slope` next to the lowest point of `curve`; that point where it has none (an end of the range)."""
    i = int(np.argmin(curve))
    downhill = -int(np.sign(slope(float(t[i]))))
    if downhill == 0 or not 0 <= i + downhill < len(t):
        return float(t[i])
    cell = np.linspace(t[i], t[i + downhill], 9)  # the loss does not fall over the whole cell, so the slope turns in it
    turned = np.flatnonzero(np.sign(slope(cell)) == downhill)
    if not turned.size:
        return float(t[i])
    at = brentq(lambda time: float(slope(time)), float(t[i]), float(cell[turned[0]]), xtol=1e-300, rtol=1e-15)
    return float(at)


def _kind(falls: bool, rises: bool) -> Kind:
    if not rises:
        return "down"
    return "U" if falls else "up"
