"""F5 and F6 of the linear theory: fine-tuning against gradient descent on matrices, and when it makes a U."""

import numpy as np
import pytest

import linear_network as net
from pliant.theory.finetune import finetune_aligned, finetune_anchor, finetune_anchor_fixed_point
from pliant.theory.modes import base_loss, mode_flow, power_law

R = 32
SIGMA = power_law(R, 0.7)
TAIL = np.arange(R) >= 16
BUDGETS = np.geomspace(1, 400, 200)
S_T = mode_flow(BUDGETS, SIGMA, 1e-6)
REVERSED = SIGMA[::-1].copy()


def one(value: float) -> np.ndarray:
    return np.array([value])


def lowest(curve: np.ndarray) -> float:
    return float(BUDGETS[np.argmin(curve)])


@pytest.fixture
def task():
    """A rectangular network with modes s and a task on its singular vectors; with A_ft, U and V."""
    s, sf = np.array([1.2, 0.6, 0.1, 1e-3]), np.array([0.3, 1.5, 0.8, 1.0])
    W1, W2, A_ft, U, V = net.aligned(s, sf, (7, 5, 6), np.random.default_rng(8))
    return s, sf, W1, W2, A_ft, U, V


@pytest.mark.parametrize(("wd", "anchor"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3), (0.0, 2.0)])
@pytest.mark.parametrize("tau", [0.5, 3.0])
def test_fine_tuning_is_gradient_descent_on_matrices(task, wd, anchor, tau):
    s, sf, W1, W2, A_ft, U, V = task
    W1, W2 = net.descend(W1, W2, A_ft, 1e-3, round(tau / 1e-3), wd=wd, anchor=anchor)
    if anchor:
        strengths = finetune_anchor(one(tau), s[None], sf, anchor)[0, 0]
    else:
        strengths = finetune_aligned(one(tau), s[None], sf, wd)[0, 0]
    np.testing.assert_allclose(strengths, np.diag(U.T @ W1 @ W2 @ V), rtol=2e-3)


def test_features_the_task_lacks_fade():
    assert finetune_aligned(one(2.0), np.array([[0.5]]), np.zeros(1))[0, 0, 0] == pytest.approx(0.5 / 3)


def test_zero_strengths_are_exact():
    tau = np.array([0.0, 0.7, 5.0, 0.0])
    assert np.array_equal(finetune_aligned(tau, S_T, REVERSED, 0.4)[[0, 3]], [S_T, S_T])
    assert np.array_equal(finetune_aligned(tau, S_T, REVERSED, 0.0), finetune_aligned(tau, S_T, REVERSED))
    assert np.array_equal(finetune_anchor(tau, S_T, REVERSED, 0.5)[[0, 3]], [S_T, S_T])
    assert np.array_equal(finetune_anchor(one(0.0), S_T, REVERSED, 0.5)[0], S_T)
    assert np.array_equal(finetune_anchor(tau, S_T, REVERSED, 0.0), finetune_aligned(tau, S_T, REVERSED))


def test_durations_come_back_in_the_order_given():
    tau = np.array([3.0, 0.5, 1.0])
    mixed, ordered = (finetune_anchor(t, S_T[::50], REVERSED, 0.5) for t in (tau, np.sort(tau)))
    np.testing.assert_allclose(mixed[[1, 2, 0]], ordered, rtol=1e-12)


@pytest.mark.parametrize(("lam", "tau"), [(0.0, 50.0), (0.01, 300.0), (0.5, 50.0), (20.0, 3.0)])
def test_anchored_fine_tuning_ends_at_its_fixed_point(lam, tau):
    s_T = np.array([[2.0, 1e-6, 0.3, 0.0, 0.7]])
    sf = np.array([0.5, 1.0, 0.0, 1.0, 0.7])
    end = finetune_anchor_fixed_point(s_T, sf, lam)
    late = finetune_anchor(one(tau), s_T, sf, lam)[0]
    moving = np.array([True, True, lam > 0, True, True])  # unanchored, sf = 0 is approached as 1/tau only
    np.testing.assert_allclose(late[0, moving], end[0, moving], rtol=1e-7, atol=1e-12)
    w, w0 = np.sqrt(end), np.sqrt(s_T)
    residual = w**3 + (lam - sf) * w - lam * w0
    assert np.max(np.abs(residual)) < 1e-12 * (1 + lam)
    assert end[0, 3] == 0.0


def test_a_huge_anchor_keeps_the_start():
    np.testing.assert_allclose(finetune_anchor_fixed_point(S_T, REVERSED, 1e9), S_T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("target", "rise", "budget"),
    [
        (REVERSED, 0.326, 20),
        (np.where(TAIL, 3.0, 1.0) * SIGMA, 0.207, 35),
        (2 * SIGMA, 0.129, None),
        (np.where(TAIL, 0.8, SIGMA), 2.9, None),
    ],
    ids=["reversed", "tail x3", "2x", "new head"],
)
def test_a_middle_duration_makes_a_u(target, rise, budget):
    """The reference's table: head and tail are the first and last 16 modes."""
    short, middle, long = base_loss(finetune_aligned(np.array([0.05, 5.0, 200.0]), S_T, target), SIGMA)
    assert net.rise(middle, SIGMA) == pytest.approx(rise, rel=0.01)
    if budget:
        assert lowest(middle) == pytest.approx(budget, rel=0.02)
    assert net.rise(short, SIGMA) < 5e-4
    assert net.rise(long, SIGMA) < 5e-4


@pytest.mark.parametrize(
    ("lam", "budget", "rise", "task_loss"),
    [(0.0, 20, 0.33, 0.008), (0.1, 24, 0.26, 0.034), (0.5, 43, 0.13, 0.22), (1.0, 55, 0.06, 0.44)],
)
def test_an_anchor_delays_the_u_at_the_cost_of_the_task(lam, budget, rise, task_loss):
    s = finetune_anchor(one(5.0), S_T, REVERSED, lam)
    curve = base_loss(s, SIGMA)[0]
    assert lowest(curve) == pytest.approx(budget, abs=1)
    assert net.rise(curve, SIGMA) == pytest.approx(rise, abs=0.006)
    at_the_end = float(base_loss(s, REVERSED)[0, -1]) / np.sum(SIGMA**2)
    assert at_the_end == pytest.approx(task_loss, rel=0.06)


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_tuning_the_duration_removes_the_u(weight):
    tau = np.concatenate([[0.0], np.geomspace(0.01, 100, 120)])
    for target in (REVERSED, np.where(TAIL, 3.0, 1.0) * SIGMA, 2 * SIGMA, np.where(TAIL, 0.8, SIGMA)):
        s = finetune_aligned(tau, S_T, target)
        tuned = np.min(base_loss(s, SIGMA) + weight * base_loss(s, target), axis=0)
        assert net.rise(tuned, SIGMA) <= 0.0008


@pytest.mark.parametrize(("required", "at_most"), [(0.05, 0.031), (0.2, 0.048)])
def test_a_required_task_loss_leaves_a_small_u(required, at_most):
    """The reference: rises .001 to .030 where the task must be learned to 5 %, .047 at most at 20 %."""
    tau = np.concatenate([[0.0], np.geomspace(0.01, 200, 300)])
    rises = []
    for target in (REVERSED, np.where(TAIL, 3.0, 1.0) * SIGMA, 2 * SIGMA, np.where(TAIL, 0.8, SIGMA)):
        s = finetune_aligned(tau, S_T, target)
        learned = base_loss(s, target) <= required * np.sum(SIGMA**2)
        rises.append(net.rise(np.where(learned, base_loss(s, SIGMA), np.inf).min(axis=0), SIGMA))
    assert 0.02 < max(rises) < at_most


def test_what_a_learned_task_costs_at_the_end():
    """Lowest pre-training loss where the task is learned to 5 %.

    The reference, on grids of its own: tuned tau .84, anchor .78 (.79 here on a finer grid), weight decay 1.19.
    """
    tau, last, size = np.geomspace(0.01, 200, 300), S_T[-1:], np.sum(SIGMA**2)

    def cost(s):
        return float(base_loss(s, SIGMA)[base_loss(s, REVERSED) <= 0.05 * size].min() / size)

    long = np.array([50.0])
    anchored = [finetune_anchor(long, last, REVERSED, lam) for lam in np.geomspace(0.05, 0.3, 9).tolist()]
    decayed = [finetune_aligned(4 * long, last, REVERSED, wd) for wd in np.geomspace(0.001, 0.5, 60).tolist()]
    assert cost(finetune_aligned(tau, last, REVERSED)) == pytest.approx(0.854, abs=0.002)
    assert cost(np.concatenate(anchored)) == pytest.approx(0.80, abs=0.01)
    assert cost(np.concatenate(decayed)) == pytest.approx(1.193, abs=0.002)


def test_the_gap_ends_higher_than_it_starts():
    tau = np.geomspace(0.02, 50, 8)
    for target in (REVERSED, np.where(TAIL, 3.0, 1.0) * SIGMA, 2 * SIGMA, np.where(TAIL, 0.8, SIGMA)):
        gap = base_loss(finetune_aligned(tau, S_T, target), SIGMA) - base_loss(S_T, SIGMA)
        assert np.all(gap[:, -1] > gap[:, 0])


def test_range_of_durations_that_make_a_u():
    """One mode, sigma 1, and k = 2: the rise exceeds a tenth for tau in the reference's [.165, 4.43].

    The upper end depends on the first budget, which the reference does not give: 0.2 fits, 1 gives 4.03.
    """
    tau = np.geomspace(0.05, 20, 1000)
    s_T = mode_flow(np.geomspace(0.2, 400, 200), np.ones(1), 1e-6)
    curves = base_loss(finetune_aligned(tau, s_T, one(2.0)), np.ones(1))
    tall = tau[[net.rise(curve, np.ones(1)) > 0.1 for curve in curves]]
    assert (tall[0], tall[-1]) == pytest.approx((0.165, 4.43), rel=0.02)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: finetune_aligned(one(-1.0), S_T, SIGMA), "tau is or contains -1: give finite numbers, zero or more"),
        (lambda: finetune_anchor(one(1.0), S_T, SIGMA, -0.1), "lam is or contains -0.1"),
        (lambda: finetune_anchor_fixed_point(S_T, -SIGMA, 0.1), "sf is or contains -1"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
