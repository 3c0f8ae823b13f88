"""Gradient flow of a two-layer linear network from any balanced weights to any target, exactly."""

import math

import numpy as np
from jaxtyping import Float
from scipy.special import exprel

from pliant.theory.domain import not_negative, positive


def riccati_flow(
    t: Float[np.ndarray, " times"],
    W1: Float[np.ndarray, "m h"],
    W2: Float[np.ndarray, "h n"],
    A: Float[np.ndarray, "m n"],
    max_exp: float = 4.0,
    wd: float = 0.0,
) -> tuple[Float[np.ndarray, "times m h"], Float[np.ndarray, "times h n"]]:
    """Weights after training on 1/2 ||W1 W2 - A||^2 for each time, from balanced W1, W2 (W1^T W1 = W2 W2^T).

    With Q = [W2^T; W1] and F = [[0, A^T], [A, 0]], Q Q^T follows a matrix Riccati equation, so that

        Q(t) = e^(F t) Q(0) M^(-1/2),  M = I + Q(0)^T [(e^(2 F t) - I) / 2F] Q(0),

    up to a rotation of the hidden units, which neither W1 W2 nor any loss sees. Weight decay replaces F by F - wd I.
    One long step would lose everything to round-off, so steps are composed with sigma_1 dt <= max_exp, each with a
    symmetric inverse root.

    Args:
        t: times, in any order; learning rate x steps.
        W1: weights of the second layer applied, (m, h).
        W2: weights of the first layer applied, (h, n).
        A: the target, (m, n), of any shape and rank.
        max_exp: largest exponent of a step; 4 keeps ten digits or more.
        wd: weight decay, wd/2 (||W1||^2 + ||W2||^2), in units of the target.

    Returns:
        W1 and W2 at each time; exactly those given at t = 0.

    Raises:
        ValueError: shapes that do not chain, weights that are not balanced, or arguments out of range.

    Source: own derivation; the conserved balance W1^T W1 - W2 W2^T is well known.
    """
    not_negative(t=t, wd=wd)
    positive(max_exp=max_exp)
    _check(W1, W2, A)
    n = W2.shape[1]
    rates, basis = np.linalg.eigh(np.block([[np.zeros((n, n)), A.T], [A, np.zeros((len(A), len(A)))]]))
    rates = rates - wd
    fastest = float(np.abs(rates).max())
    Q, now = np.concatenate([W2.T, W1]), 0.0
    states = np.empty((len(t), *Q.shape))
    for k in np.argsort(t, kind="stable"):
        steps = math.ceil(fastest * (t[k] - now) / max_exp)
        for _ in range(steps):
            Q = basis @ _step((t[k] - now) / steps, basis.T @ Q, rates)
        states[k], now = Q, t[k]
    return states[:, n:], np.swapaxes(states[:, :n], 1, 2)


def _step(dt: float, Y: Float[np.ndarray, "p h"], rates: Float[np.ndarray, " p"]) -> Float[np.ndarray, "p h"]:
    """One step in the eigenbasis of F; exprel keeps (e^(2 F dt) - 1) / 2F finite at zero eigenvalues."""
    M = np.eye(Y.shape[1]) + (Y.T * (dt * exprel(2 * rates * dt))) @ Y
    values, vectors = np.linalg.eigh(M)
    return np.asarray((np.exp(rates * dt)[:, None] * Y) @ (vectors / np.sqrt(values)) @ vectors.T)


def _check(W1: np.ndarray, W2: np.ndarray, A: np.ndarray) -> None:
    if not (W1.ndim == W2.ndim == 2 and W1.shape[1] == W2.shape[0] and (W1.shape[0], W2.shape[1]) == A.shape):
        shapes = f"W1 {W1.shape}, W2 {W2.shape} and A {A.shape}"
        raise ValueError(f"{shapes} do not fit: give shapes (m, h), (h, n) and (m, n)")
    gap, size = np.linalg.norm(W1.T @ W1 - W2 @ W2.T), np.linalg.norm(W1) ** 2
    if gap > 1e-8 * size:
        raise ValueError(
            f"the weights are not balanced: ||W1^T W1 - W2 W2^T|| is {gap:.2g}, {gap / size:.2g} of ||W1||^2; "
            "give weights with W1^T W1 = W2 W2^T, such as c U R^T and c R V^T with orthonormal columns"
        )
