"""Fine-tuning of a two-layer linear network to a task with the singular vectors of its pre-training target.

Fine-tuning starts from the strengths s_T that pre-training for T has left (`pliant.theory.modes`), (T, r), and
moves each mode towards its singular value sf in the task. The pre-training loss afterwards is
`base_loss(s, sigma)`, the task loss `base_loss(s, sf)`.
"""

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from pliant.theory.domain import not_negative
from pliant.theory.modes import logistic


def finetune_aligned(
    tau: Float[np.ndarray, " durations"],
    s_T: Float[np.ndarray, "budgets r"],
    sf: Float[np.ndarray, " r"],
    wd: float = 0.0,
) -> Float[np.ndarray, "durations budgets r"]:
    """Strengths after fine-tuning for tau: s_i' = 2 s_i (sf_i - wd - s_i) from s_T.

    A feature that the task does not have, sf = 0, fades as s/(1 + 2 s tau). If no singular value of the task
    exceeds the pre-training target's (and none of the initial strengths does), the pre-training loss afterwards
    never rises with pre-training time, whatever tau; for a U some sf must exceed its sigma, and tau must be neither
    so short that nothing changes nor so long that the start is forgotten.

    Args:
        tau: durations of fine-tuning; learning rate x steps.
        s_T: strengths before it, for each pre-training time.
        sf: the task's singular values, in the order of the modes; they need not be sorted.
        wd: weight decay in fine-tuning, in units of the target.

    Returns:
        Strengths, in units of the target; exactly s_T at tau = 0.

    Raises:
        ValueError: an argument that is negative or not finite.

    Source: own derivation.
    """
    not_negative(tau=tau, s_T=s_T, sf=sf, wd=wd)
    return logistic(tau[:, None, None], sf - wd, s_T)


def finetune_anchor(
    tau: Float[np.ndarray, " durations"],
    s_T: Float[np.ndarray, "budgets r"],
    sf: Float[np.ndarray, " r"],
    lam: float,
) -> Float[np.ndarray, "durations budgets r"]:
    """Strengths after fine-tuning with the penalty (lam/2) sum ||W - W(T)||^2 on both layers.

    With s = w^2 and w0 = sqrt(s_T), w' = w (sf - w^2) - lam (w - w0), integrated by an eighth-order Runge-Kutta
    method to a relative error of about 1e-9. The anchor is in weight space; `lazy_finetune_loss` has one in
    function space.

    Args:
        tau: durations of fine-tuning, in any order.
        s_T: strengths before it, for each pre-training time.
        sf: the task's singular values, in the order of the modes.
        lam: strength of the anchor, in units of the target.

    Returns:
        Strengths; exactly s_T at tau = 0 and exactly `finetune_aligned` at lam = 0.

    Raises:
        ValueError: an argument that is negative or not finite.

    Source: own derivation.
    """
    not_negative(tau=tau, s_T=s_T, sf=sf, lam=lam)
    free = finetune_aligned(tau, s_T, sf)
    if lam == 0 or not np.any(tau > 0):
        return free
    w0, pull = np.sqrt(s_T).ravel(), np.broadcast_to(sf, s_T.shape).ravel()
    times, place = np.unique(np.concatenate([[0.0], tau]), return_inverse=True)

    def flow(_: float, w: Float[np.ndarray, " modes"]) -> Float[np.ndarray, " modes"]:
        return np.asarray(w * (pull - w**2) - lam * (w - w0))

    solved = solve_ivp(flow, (0.0, times[-1]), w0, method="DOP853", t_eval=times, rtol=1e-9, atol=1e-11)
    assert solved.success, solved.message
    s = np.square(solved.y.T[place[1:]]).reshape(free.shape)
    return np.where(tau[:, None, None] == 0, free, s)


def finetune_anchor_fixed_point(
    s_T: Float[np.ndarray, "budgets r"], sf: Float[np.ndarray, " r"], lam: float
) -> Float[np.ndarray, "budgets r"]:
    """Strengths that `finetune_anchor` tends to for long fine-tuning.

    w^2 for the positive root of w^3 + (lam - sf) w - lam w0 = 0, w0 = sqrt(s_T). It has one (the signs of its
    coefficients change once); Newton's method from max(w0, sqrt(sf)) falls to it monotonically, since the cubic is
    convex there and not negative. A mode that starts at 0 stays there.

    Raises:
        ValueError: an argument that is negative or not finite.

    Source: own derivation.
    """
    not_negative(s_T=s_T, sf=sf, lam=lam)
    if lam == 0:
        return np.where(s_T > 0, sf, 0.0)
    w0 = np.sqrt(s_T)
    w = np.maximum(w0, np.sqrt(sf))
    for _ in range(100):
        slope = 3 * w**2 + lam - sf
        step = np.divide(w**3 + (lam - sf) * w - lam * w0, slope, out=np.zeros_like(w), where=slope > 0)
        w = w - step
        if np.all(np.abs(step) <= 1e-15 * w):
            break
    return np.where(s_T > 0, w**2, 0.0)
