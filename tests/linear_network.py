"""Two-layer linear networks as matrices: what the formulas of pliant.theory are compared with."""

import numpy as np


def orthonormal(rows: int, columns: int, generator: np.random.Generator) -> np.ndarray:
    """A matrix with orthonormal columns."""
    return np.linalg.qr(generator.normal(size=(rows, columns)))[0]


def aligned(
    s: np.ndarray, sigma: np.ndarray, shape: tuple[int, int, int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """W1 = U sqrt(s) R^T, W2 = R sqrt(s) V^T and A = U sigma V^T for shape (m, h, n); and U, V."""
    m, h, n = shape
    U, R, V = (orthonormal(width, len(s), generator) for width in (m, h, n))
    return (U * np.sqrt(s)) @ R.T, (R * np.sqrt(s)) @ V.T, (U * sigma) @ V.T, U, V


def descend(W1, W2, A, eta, steps, *, wd=0.0, anchor=0.0):
    """Gradient descent on 1/2 ||W1 W2 - A||^2 + wd/2 ||W||^2 + anchor/2 ||W - start||^2."""
    start1, start2 = W1, W2
    for _ in range(steps):
        error = W1 @ W2 - A
        pull1, pull2 = wd * W1 + anchor * (W1 - start1), wd * W2 + anchor * (W2 - start2)
        W1, W2 = W1 - eta * (error @ W2.T + pull1), W2 - eta * (W1.T @ error + pull2)
    return W1, W2


def loss(W1, W2, A) -> float:
    return float(np.sum((W1 @ W2 - A) ** 2))


def rise(curve: np.ndarray, sigma: np.ndarray) -> float:
    """Last value minus the lowest, as a share of ||A||^2."""
    return float(curve[-1] - curve.min()) / float(np.sum(sigma**2))
