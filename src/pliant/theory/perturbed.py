"""Sensitivity of a two-layer linear network to Gaussian noise, and its perturbed loss, as functions of the modes.

States and conventions are those of `pliant.theory.modes`; `pliant.theory.perturbation` has the same expectation for
any weights. m, n and h are the numbers of outputs, inputs and hidden units.
"""

import numpy as np
from jaxtyping import Float

from pliant.theory.domain import Numbers, not_negative
from pliant.theory.modes import base_loss, mode_flow, mode_variances


def sensitivity(
    s: Float[np.ndarray, "*states r"],
    gamma: Numbers,
    m: int,
    n: int,
    h: int,
    gamma2: Numbers | None = None,
    cov: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "..."]:
    """Expected rise of the loss when W1 gets noise of std gamma and W2 of std gamma2.

        (n gamma2^2 + m gamma^2) sum_i s_i + gamma^2 gamma2^2 m h n,

    with equal strengths gamma^2 (m + n) sum_i s_i + gamma^4 m h n, whatever the target is. With input variances c,
    (C gamma2^2 sum_i s_i + m gamma^2 sum_i c_i s_i) + gamma^2 gamma2^2 m h C, where C = sum c.

    Args:
        s: strengths, (..., r).
        gamma: noise std of W1, a number or an array, in the units of weights (roots of the target's).
        gamma2: noise std of W2, of the shape of gamma; gamma when None.
        cov: input variances, (n,), those of the modes first; 1 when None.

    Returns:
        The rise, the shape of gamma followed by that of the states, in squared units of the target.

    Raises:
        ValueError: arguments out of range, shapes that do not hold r modes, or cov not of length n.

    Source: own derivation from the second moments of a standard normal.
    """
    check_widths(s.shape[-1], m, n, h)
    if cov is not None and len(cov) != n:
        raise ValueError(f"cov has {len(cov)} variances for n={n} inputs: give one for each")
    g1 = np.asarray(gamma, float) ** 2
    g2 = g1 if gamma2 is None else np.asarray(gamma2, float) ** 2
    not_negative(s=s, gamma=gamma, gamma2=gamma if gamma2 is None else gamma2)
    total = float(n if cov is None else np.sum(cov))
    first, second = s.sum(axis=-1), s @ mode_variances(cov, s.shape[-1])
    linear = np.multiply.outer(total * g2, first) + np.multiply.outer(m * g1, second)
    return np.asarray(linear + np.multiply.outer(g1 * g2 * m * h * total, np.ones(first.shape)))


def sensitivity_relative(s: Float[np.ndarray, "*states r"], rho: float, h: int) -> Float[np.ndarray, "*states"]:
    """Expected rise of the loss when each layer gets noise of std rho x its own root mean square.

    (sum_i s_i)^2 (2 rho^2 + rho^4) / h, in squared units of the target: `sensitivity` at
    gamma^2 = rho^2 sum s / (m h) and gamma2^2 = rho^2 sum s / (h n).

    Raises:
        ValueError: arguments out of range, or h below the number of modes.

    Source: own derivation.
    """
    not_negative(s=s, rho=rho)
    check_widths(s.shape[-1], s.shape[-1], s.shape[-1], h)
    return np.asarray(s.sum(axis=-1) ** 2 * (2 * rho**2 + rho**4) / h)


def perturbed_loss(
    t: Numbers,
    gamma: Numbers,
    sigma: Float[np.ndarray, " r"],
    s0: Numbers,
    m: int,
    n: int,
    h: int,
    wd: float = 0.0,
) -> Float[np.ndarray, "..."]:
    """Expected loss under noise after training for time t: `base_loss` plus `sensitivity`.

    Args:
        t: times, of any shape.
        gamma: noise std of both layers, a number or an array.
        sigma: singular values of the target, (r,).
        s0: strength of the modes at t = 0, a number or (r,).
        wd: weight decay in training, in units of the target; it is not part of the loss.

    Returns:
        The loss, the shape of gamma followed by that of t, in squared units of the target; exactly the base loss
        at gamma = 0.

    Raises:
        ValueError: arguments out of range, or m, n or h below r.

    Source: own derivation.
    """
    s = mode_flow(t, sigma, s0, wd=wd)
    return np.asarray(base_loss(s, sigma) + sensitivity(s, gamma, m, n, h))


def shrinkage(gamma: Numbers, m: int, n: int) -> Float[np.ndarray, "..."]:
    """g = gamma^2 (m + n) / 2: how far below its singular value noise makes each mode's best strength lie.

    The perturbed loss of a mode is (sigma - s)^2 + 2 g s, lowest at s = max(sigma - g, 0). Units of the target.

    Raises:
        ValueError: a gamma that is negative or not finite.

    Source: own derivation.
    """
    not_negative(gamma=gamma)
    return np.asarray(np.square(gamma) * (m + n) / 2)


def perturbed_floor(gamma: Numbers, sigma: Float[np.ndarray, " r"], m: int, n: int, h: int) -> Float[np.ndarray, "..."]:
    """The lowest perturbed loss of any strengths s >= 0, reached by soft thresholding, s = max(sigma - g, 0).

    sum_i [sigma_i^2 - max(sigma_i - g, 0)^2] + gamma^4 m h n with g from `shrinkage`; the shape of gamma. Training
    with weight decay g ends there; without it the loss ends higher.

    Raises:
        ValueError: arguments out of range, or m, n or h below r.

    Source: own derivation.
    """
    not_negative(sigma=sigma)
    check_widths(len(sigma), m, n, h)
    left = np.maximum(sigma - shrinkage(gamma, m, n)[..., None], 0)
    return np.asarray(np.sum(sigma**2 - left**2, axis=-1) + np.power(gamma, 4) * m * h * n)


def check_widths(r: int, m: int, n: int, h: int) -> None:
    """Refuse layers too narrow for r modes.

    Raises:
        ValueError: m, n or h below r.
    """
    if min(m, n, h) < r:
        raise ValueError(f"m={m}, n={n}, h={h} cannot hold {r} modes: give {r} or more of each")
