"""The expected loss of a two-layer linear network under Gaussian noise on its weights, in closed form."""

import numpy as np
from jaxtyping import Float


def perturbation_expectation(
    W1: Float[np.ndarray, "m h"],
    W2: Float[np.ndarray, "h n"],
    A: Float[np.ndarray, "m n"],
    g1: float,
    g2: float | None = None,
) -> float:
    """Expected squared error of `W1 W2` against `A` when both layers get independent Gaussian noise.

    With E1 (m, h) and E2 (h, n) of independent standard normal entries and Frobenius norms, exactly and
    for any weights,

        E ||(W1 + g1 E1)(W2 + g2 E2) - A||^2
            = ||W1 W2 - A||^2 + n g2^2 ||W1||^2 + m g1^2 ||W2||^2 + g1^2 g2^2 m h n.

    The noise adds to W1 W2 - A three terms of zero mean, g2 W1 E2, g1 E1 W2 and g1 g2 E1 E2. They are
    uncorrelated, since each is odd in an independent factor that the others lack, and their mean squares
    are the last three summands: E ||W1 E2||^2 = n ||W1||^2, E ||E1 W2||^2 = m ||W2||^2 and
    E ||E1 E2||^2 = m h n. For g1 = g2 = g the rise over the clean loss, the sensitivity, is
    g^2 (n ||W1||^2 + m ||W2||^2) + g^4 m h n, whatever A is.

    Args:
        W1: weights of the second layer applied, (m, h).
        W2: weights of the first layer applied, (h, n).
        A: the target map, (m, n).
        g1: noise std of W1, in the units of its entries.
        g2: noise std of W2; that of W1 when None.

    Returns:
        The expected loss, without a factor 1/2, in squared units of A; the clean loss at g1 = g2 = 0.

    Raises:
        ValueError: shapes that do not chain, or a noise std that is negative or not finite.

    Source: own derivation from the second moments of a standard normal.
    """
    if g2 is None:
        g2 = g1
    _check(W1.shape, W2.shape, A.shape, {"g1": g1, "g2": g2})
    m, h = W1.shape
    n = W2.shape[1]
    clean = np.sum((W1 @ W2 - A) ** 2)
    rise = n * g2**2 * np.sum(W1**2) + m * g1**2 * np.sum(W2**2) + g1**2 * g2**2 * m * h * n
    return float(clean + rise)


def _check(W1: tuple[int, ...], W2: tuple[int, ...], A: tuple[int, ...], stds: dict[str, float]) -> None:
    if not (len(W1) == len(W2) == 2 and W1[1] == W2[0] and (W1[0], W2[1]) == A):
        raise ValueError(f"W1 {W1}, W2 {W2} and A {A} do not fit: give shapes (m, h), (h, n) and (m, n)")
    for name, std in stds.items():
        if not 0 <= std < np.inf:
            raise ValueError(f"{name}={std} is not a noise strength: give a finite number of zero or more")
