"""F8 of the linear theory: fine-tuning to new singular vectors, against the exact flow and hand-computed points."""

import numpy as np
import pytest

import linear_network as net
from pliant.theory.lazy import lazy_finetune_loss
from pliant.theory.modes import base_loss, mode_flow, power_law
from pliant.theory.riccati import riccati_flow


@pytest.mark.parametrize(
    ("zeta", "tau", "tolerance"),
    [(0.02, 0.5, 0.03), (0.03, 0.5, 0.1), (0.05, 0.5, 0.04), (0.1, 0.5, 0.09), (0.05, 2.0, 0.16)],
)
def test_lazy_against_the_exact_flow(zeta, tau, tolerance):
    """d = 16, 12 antithetic pairs, late budgets.

    The reference's 3, 1, 9 and 16 % for (.02, .5), (.05, .5), (.1, .5) and (.05, 2) are of unstated size: here 1.5,
    2.9, 7.8 and 7 % at d = 16; 2.8, 5.9, 16 and 20 % at d = 32.
    """
    sigma = power_law(16, 0.7)
    s_T = mode_flow(np.array([20.0, 80.0, 400.0]), sigma, 1e-6)
    generator = np.random.default_rng(6)
    losses = np.zeros(len(s_T))
    for _ in range(12):
        G = generator.normal(size=(16, 16))
        for k, s in enumerate(s_T):
            W = np.diag(np.sqrt(s))
            for sign in (1, -1):
                first, second = riccati_flow(np.array([tau]), W, W, np.diag(sigma) + sign * zeta * G)
                losses[k] += net.loss(first[0], second[0], np.diag(sigma)) / 24
    lazy = lazy_finetune_loss(np.array([tau]), s_T, sigma, zeta)[0]
    np.testing.assert_allclose(lazy, losses, rtol=tolerance)


def test_lazy_by_hand():
    s_T, sigma, tau = np.array([[1.0, 0.5]]), np.array([2.0, 0.5]), np.array([0.25])
    kappa = np.array([[2.0, 1.5, 1.0], [1.5, 1.0, 0.5]])  # (m, n) = (2, 3)
    expected = np.exp(-1.0) + 0.04 * np.sum((1 - np.exp(-0.25 * kappa)) ** 2)
    assert lazy_finetune_loss(tau, s_T, sigma, 0.2, m=2, n=3)[0, 0] == pytest.approx(expected)
    filtered = kappa / (kappa + 3) * (1 - np.exp(-0.25 * (kappa + 3)))
    expected = (1 - filtered[0, 0]) ** 2 + 0.04 * np.sum(filtered**2)
    assert lazy_finetune_loss(tau, s_T, sigma, 0.2, lam=3.0, m=2, n=3)[0, 0] == pytest.approx(expected)


def test_lazy_without_duration_is_exactly_the_loss_before():
    sigma = power_law(8, 0.7)
    s_T = mode_flow(np.array([5.0, 20.0, 80.0]), sigma, 1e-6)
    assert np.array_equal(lazy_finetune_loss(np.array([0.0]), s_T, sigma, 0.3)[0], base_loss(s_T, sigma))


def test_lazy_makes_a_u_without_larger_singular_values():
    sigma = power_law(16, 0.7)
    curve = lazy_finetune_loss(np.array([0.5]), mode_flow(np.geomspace(1, 400, 50), sigma, 1e-6), sigma, 0.1)[0]
    assert 0 < np.argmin(curve) < 49
