"""How a two-layer linear network learns: one logistic curve for each singular direction of its target.

The network is W1 W2, W1 (m, h) and W2 (h, n), with whitened inputs and a target A (m, n) of rank r <= h whose
singular values are sigma_1 >= ... >= sigma_r > 0. Gradient flow runs on 1/2 ||W1 W2 - A||^2 (Frobenius); the loss
reported is ||W1 W2 - A||^2, the population risk. From an aligned balanced start, W1 = U sqrt(S) R^T and
W2 = R sqrt(S) V^T with the singular vectors U, V of A and S = diag(s), the flow changes s only.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import exprel

from pliant.theory.domain import Numbers, not_negative, positive


def power_law(r: int, alpha: float, scale: float = 1.0) -> Float[np.ndarray, " r"]:
    """Singular values scale * i^-alpha for i = 1 ... r, in units of the target.

    Raises:
        ValueError: r below 1, a negative or non-finite alpha, or a scale that is not above zero.
    """
    if r < 1:
        raise ValueError(f"r={r} is not a rank: give 1 or more")
    not_negative(alpha=alpha)
    positive(scale=scale)
    return scale * np.arange(1.0, r + 1) ** -alpha


def logistic(t: Numbers, limit: Numbers, s0: Numbers, rate: float = 2.0) -> Float[np.ndarray, "..."]:
    """s(t) of s' = rate s (limit - s), s(0) = s0, for a limit of any sign; arguments broadcast as in NumPy.

    With x = rate limit t and exprel(y) = (e^y - 1)/y,

        s = s0 e^min(x, 0) / (e^-max(x, 0) + rate s0 t exprel(-|x|)),

    which neither overflows nor divides by zero, is s0 / (1 + rate s0 t) at limit 0 and exactly s0 at t = 0.

    Source: own derivation (the logistic equation).
    """
    x = np.asarray(rate * np.multiply(limit, t))
    grown = np.exp(-np.maximum(x, 0)) + rate * np.multiply(s0, t) * exprel(-np.abs(x))
    return np.asarray(s0 * np.exp(np.minimum(x, 0)) / grown)


def mode_flow(
    t: Numbers, sigma: Float[np.ndarray, " r"], s0: Numbers, rate: float = 2.0, wd: float = 0.0
) -> Float[np.ndarray, "*times r"]:
    """Strengths of all modes after training for time t: s_i' = rate s_i (sigma_i - wd - s_i), s_i(0) = s0.

    Without weight decay s_i(t) = sigma_i / (1 + (sigma_i/s0 - 1) e^(-rate sigma_i t)): a mode is learned at about
    ln(sigma_i/s0) / (rate sigma_i), the strong ones first. Weight decay wd/2 (||W1||^2 + ||W2||^2) lowers the
    limit of each mode from sigma_i to max(sigma_i - wd, 0).

    Args:
        t: times, of any shape; learning rate x steps.
        sigma: singular values of the target, (r,); zero is allowed.
        s0: strength at t = 0, a number or (r,), in units of the target.
        rate: 2 for the flow on the loss with the factor 1/2, 4 without it.
        wd: weight decay, in units of the target.

    Returns:
        Strengths, the shape of t followed by r.

    Raises:
        ValueError: an argument that is negative or not finite, or a rate of zero.

    Source: own derivation; the sequential learning of modes is in Gidel et al., arXiv 1904.13262.
    """
    not_negative(t=t, sigma=sigma, s0=s0, wd=wd)
    positive(rate=rate)
    return logistic(np.asarray(t)[..., None], sigma - wd, s0, rate)


def gd_modes(steps: int, sigma: Float[np.ndarray, " r"], s0: Numbers, eta: float) -> Float[np.ndarray, "{steps}+1 r"]:
    """Strengths after 0, 1, ... steps of gradient descent: w <- w + eta w (sigma - w^2), s = w^2.

    Exact for matrices W1, W2 trained together from an aligned balanced start at learning rate eta. Step k stands
    for time eta k of `mode_flow`, which differs by O(eta).

    Raises:
        ValueError: negative steps, arguments out of range, or eta so large that the recursion need not settle.

    Source: own derivation.
    """
    not_negative(steps=steps, sigma=sigma, s0=s0)
    positive(eta=eta)
    fastest = float(max(np.max(sigma), np.max(s0)))
    if eta * fastest >= 1:
        raise ValueError(f"eta={eta:g} does not settle at strength {fastest:g}: give less than {1 / fastest:.3g}")
    w = np.empty((steps + 1, len(sigma)))
    w[0] = np.sqrt(s0)
    for k in range(steps):
        w[k + 1] = w[k] + eta * w[k] * (sigma - w[k] ** 2)
    s = w**2
    s[0] = s0
    return s


def time_to_reach(level: Numbers, limit: Numbers, s0: Numbers, rate: float = 2.0) -> Float[np.ndarray, "..."]:
    """When `logistic` passes `level`; inf where it never does, 0 where it starts there.

    t = ln[level (limit - s0) / (s0 (limit - level))] / (rate limit), or (1/s0 - 1/level) / rate at limit 0.

    Source: own derivation, the inverse of the logistic curve.
    """
    level, limit, s0 = np.broadcast_arrays(*map(np.float64, (level, limit, s0)))
    between = (level > 0) & (s0 > 0) & ((level - s0) * (level - limit) < 0)
    t = np.where(level == s0, 0.0, np.inf)
    still, moving = between & (limit == 0), between & (limit != 0)
    t[still] = (1 / level[still] - 1 / s0[still]) / rate
    a, b, c = level[moving], limit[moving], s0[moving]
    t[moving] = np.log(a / c * ((b - c) / (b - a))) / (rate * b)
    return t


def learn_time(sigma: Float[np.ndarray, " r"], s0: Numbers, frac: float = 0.5) -> Float[np.ndarray, " r"]:
    """When each mode has reached `frac` of its singular value; 0 for modes that start above.

    T_i = ln[(sigma_i/s0 - 1) frac/(1 - frac)] / (2 sigma_i), about ln(sigma_i/s0) / (2 sigma_i) at one half.

    Raises:
        ValueError: a singular value or s0 that is not above zero, or frac outside (0, 1).

    Source: own derivation.
    """
    positive(sigma=sigma, s0=s0)
    if not 0 < frac < 1:
        raise ValueError(f"frac={frac} is not a share of a singular value: give a number between 0 and 1")
    return np.where(np.less(s0, frac * sigma), time_to_reach(frac * sigma, sigma, s0), 0.0)


def base_loss(
    s: Float[np.ndarray, "*states r"], sigma: Float[np.ndarray, " r"], cov: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "*states"]:
    """Loss without noise, sum_i c_i (sigma_i - s_i)^2, in squared units of the target, without a factor 1/2.

    Args:
        s: strengths, (..., r).
        sigma: singular values to compare with: the pre-training target's, or a task's for the task loss.
        cov: variances c of the input along the right singular vectors of the target, those of the r modes first;
            1 (whitened) when None.

    Raises:
        ValueError: arguments out of range, or fewer variances than modes.

    Source: own derivation.
    """
    not_negative(s=s, sigma=sigma)
    return np.asarray(((sigma - s) ** 2) @ mode_variances(cov, len(sigma)))


def mode_variances(cov: Float[np.ndarray, " n"] | None, r: int) -> Float[np.ndarray, " r"]:
    """The input variance along each of r modes.

    Raises:
        ValueError: fewer variances than modes, or one that is negative.
    """
    if cov is None:
        return np.ones(r)
    not_negative(cov=cov)
    if len(cov) < r:
        raise ValueError(f"cov has {len(cov)} variances for {r} modes: give one for each of the n inputs")
    return cov[:r]
