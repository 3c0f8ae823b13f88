"""F1 of the linear theory against an ODE solver, gradient descent on matrices and hand-computed points."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import linear_network as net
from pliant.theory.modes import base_loss, gd_modes, learn_time, mode_flow, power_law

SIGMA = power_law(12, 0.7)
TIMES = np.array([0.0, 0.5, 3.0, 9.0, 27.0])


@pytest.mark.parametrize("wd", [0.0, 0.3, 1.0, 1.7])
@pytest.mark.parametrize("rate", [2.0, 4.0])
def test_flow_solves_its_equation(wd, rate):
    s0 = np.linspace(1e-4, 1.5, 12)  # below and above their limits
    solved = solve_ivp(
        lambda _, s: rate * s * (SIGMA - wd - s), (0, TIMES[-1]), s0, t_eval=TIMES, method="DOP853", rtol=1e-12, atol=0
    )
    np.testing.assert_allclose(mode_flow(TIMES, SIGMA, s0, rate, wd), solved.y.T, rtol=1e-8)


def test_flow_by_hand():
    # sigma 1 from s0 = 1/2 at t = ln(3)/2: odds 1 become 3.
    assert mode_flow(np.log(3) / 2, np.ones(1), 0.5)[0] == pytest.approx(0.75)
    # weight decay takes all of the target: s' = -2 s^2, s = 1/(1 + 2 t)
    assert mode_flow(2.0, np.ones(1), 1.0, wd=1.0)[0] == pytest.approx(0.2)


def test_no_time_changes_nothing():
    s0 = np.linspace(0.0, 2.0, 12)
    for wd in (0.0, 0.4, 3.0):
        assert np.array_equal(mode_flow(0.0, SIGMA, s0, wd=wd), s0)
    assert np.array_equal(gd_modes(0, SIGMA, s0, 0.1)[0], s0)


def test_no_weight_decay_is_exactly_none():
    assert np.array_equal(mode_flow(TIMES, SIGMA, 1e-6, wd=0.0), mode_flow(TIMES, SIGMA, 1e-6))


@pytest.mark.parametrize("wd", [0.0, 5.0])
def test_flow_survives_extremes(wd):
    far = mode_flow(np.array([1e-300, 1.0, 1e12]), np.array([0.0, 1e-300, 1e3]), 1e-200, wd=wd)
    assert np.all(np.isfinite(far))
    assert far[-1, -1] == pytest.approx(1e3 - wd)
    assert mode_flow(1e9, np.array([1e-9]), 1e-6, wd=1e3)[0] == 0.0


def test_rate_is_a_unit_of_time():
    np.testing.assert_allclose(mode_flow(TIMES, SIGMA, 1e-3, rate=4.0), mode_flow(2 * TIMES, SIGMA, 1e-3), rtol=1e-13)


@pytest.mark.parametrize("eta", [0.1, 0.01])
def test_recursion_is_gradient_descent_on_matrices(eta):
    generator = np.random.default_rng(1)
    sigma, s0 = power_law(4, 0.7), np.full(4, 1e-3)
    W1, W2, A, U, V = net.aligned(s0, sigma, (7, 5, 6), generator)
    W1, W2 = net.descend(W1, W2, A, eta, round(3 / eta))
    np.testing.assert_allclose(np.diag(U.T @ W1 @ W2 @ V), gd_modes(round(3 / eta), sigma, s0, eta)[-1], rtol=1e-12)


def test_descent_approaches_the_flow_in_first_order():
    def error(eta):
        steps = round(9 / eta)
        descended = gd_modes(steps, SIGMA, 1e-6, eta)
        flowed = mode_flow(eta * np.arange(steps + 1), SIGMA, 1e-6)
        return np.abs(base_loss(descended, SIGMA) / base_loss(flowed, SIGMA) - 1).max()

    errors = [error(eta) for eta in (0.04, 0.02, 0.01)]
    for coarse, fine in pairwise(errors):
        assert 1.8 < coarse / fine < 2.2


def test_too_large_a_rate_is_refused():
    with pytest.raises(ValueError, match=r"eta=1.5 does not settle at strength 1: give less than 1"):
        gd_modes(3, SIGMA, 1e-6, 1.5)


@pytest.mark.parametrize("frac", [0.1, 0.5, 0.9])
def test_modes_are_there_at_their_learning_time(frac):
    for sigma, time in zip(SIGMA, learn_time(SIGMA, 1e-6, frac), strict=True):
        assert mode_flow(float(time), np.array([sigma]), 1e-6)[0] == pytest.approx(frac * sigma, rel=1e-12)


def test_learning_time_is_about_its_short_formula():
    np.testing.assert_allclose(learn_time(SIGMA, 1e-6), np.log(SIGMA / 1e-6) / (2 * SIGMA), rtol=1e-5)
    assert learn_time(np.array([1.0, 0.1]), 0.3).tolist() == [pytest.approx(np.log(7 / 3) / 2), 0.0]


def test_base_loss_by_hand_and_with_input_variances():
    s, sigma = np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 3.0]]), np.array([2.0, 1.0])
    assert base_loss(s, sigma).tolist() == [5.0, 0.0, 5.0]
    assert base_loss(s, sigma, np.array([3.0, 0.5, 9.0])).tolist() == [12.5, 0.0, 5.0]


def test_power_law():
    assert power_law(3, 1.0, 6.0).tolist() == [6.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: power_law(0, 1.0), "r=0 is not a rank: give 1 or more"),
        (lambda: power_law(3, float("nan")), "alpha is or contains nan: give finite numbers, zero or more"),
        (lambda: power_law(3, 1.0, 0.0), "scale is or contains 0: give finite numbers, more than zero"),
        (lambda: mode_flow(np.array([1.0, -2.0]), SIGMA, 0.1), "t is or contains -2"),
        (lambda: mode_flow(1.0, SIGMA, 0.1, wd=-0.1), "wd is or contains -0.1"),
        (lambda: learn_time(SIGMA, 0.1, 1.0), "frac=1.0 is not a share"),
        (lambda: learn_time(SIGMA, 0.0), "s0 is or contains 0"),
        (lambda: base_loss(SIGMA, SIGMA, np.ones(3)), "cov has 3 variances for 12 modes"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
