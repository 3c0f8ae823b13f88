"""The law of the modified loss over the token budget, and where it turns."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerturbedLaw:
    """L(T, gamma) = E + A T^-alpha + B gamma^2 T^beta, held in the parameters that data fix well.

    With x = ln(T / T0), T0 = `center` tokens:

        L = level - slope (1 - exp(-alpha x)) / alpha + gamma^2 exp(log_cost + beta x)

    so that slope = alpha A T0^-alpha is how fast the base loss falls per unit of ln T at T0, and alpha = 0 is
    the straight line in ln T. `level`, `slope` in nats; `log_cost` is ln of nats per gamma^2. `covariance` (5, 5) is
    that of (level, slope, alpha, log_cost, beta). E, A and alpha by themselves are poorly separated; the slope is not.

    Source: own synthesis (a Chinchilla-like base loss plus noise cost quadratic in gamma) for the phenomenon
    of arXiv 2503.19206.
    """

    center: float
    level: float
    slope: float
    alpha: float
    log_cost: float
    beta: float
    covariance: Float[np.ndarray, "5 5"]
    chi2: float
    dof: int

    @property
    def floor(self) -> float:
        """E, nats; nan where alpha <= 0: the base loss then shows no floor."""
        return self.level - self.slope / self.alpha if self.alpha > 0 else math.nan

    @property
    def amplitude(self) -> float:
        """A, nats x tokens^alpha; nan where alpha <= 0."""
        return self.slope / self.alpha * self.center**self.alpha if self.alpha > 0 else math.nan

    @property
    def cost(self) -> float:
        """B, nats / (gamma^2 tokens^beta)."""
        return math.exp(self.log_cost - self.beta * math.log(self.center))

    @property
    def turns(self) -> bool:
        """Whether the law has a minimum over T: a falling base, a growing gap, and the gap growing faster."""
        return self.slope > 0 and self.beta > 0 and self.alpha + self.beta > 0

    def predict(self, T: Float[np.ndarray, " budgets"], gamma: float = 0.0) -> Float[np.ndarray, " budgets"]:
        """L(T, gamma), nats, at token budgets T."""
        x = np.log(T / self.center)
        base = self.level - self.slope * fallen(x, self.alpha)
        return np.asarray(base + gamma**2 * np.exp(self.log_cost + self.beta * x))

    def predict_se(self, T: Float[np.ndarray, " budgets"], gamma: float = 0.0) -> Float[np.ndarray, " budgets"]:
        """Delta-method standard error of `predict`, nats."""
        x = np.log(T / self.center)
        gap = gamma**2 * np.exp(self.log_cost + self.beta * x)
        base = base_jacobian(x, self.slope, self.alpha)
        jacobian = np.column_stack([base, gap, gap * x])
        return np.asarray(np.sqrt(np.einsum("ki,ij,kj->k", jacobian, self.covariance, jacobian)))

    def t_star(self, gamma: float) -> float:
        """T* = (alpha A / (beta B gamma^2))^(1 / (alpha + beta)), the budget where L(., gamma) is lowest, tokens.

        Infinite where the base falls and the gap never catches up; nan where the base does not fall.

        Raises:
            ValueError: gamma is not a positive number.
        """
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma is {gamma}; give a positive noise strength")
        if not self.turns:
            return math.inf if self.slope > 0 else math.nan
        exponent = self._log_t_star(gamma)
        return self.center * math.exp(exponent) if exponent < 700 else math.inf

    def log_t_star_se(self, gamma: float) -> float:
        """Delta-method standard error of ln T*; nan where there is no T*."""
        if not self.turns:
            return math.nan
        gradient = self._log_t_star_gradient(gamma)
        return math.sqrt(max(0.0, float(gradient @ self.covariance @ gradient)))

    def _log_t_star(self, gamma: float) -> float:
        """ln(T* / T0)"""
        balance = math.log(self.slope) - self.log_cost - math.log(self.beta) - 2 * math.log(gamma)
        return balance / (self.alpha + self.beta)

    def _log_t_star_gradient(self, gamma: float) -> Float[np.ndarray, "5"]:
        x, total = self._log_t_star(gamma), self.alpha + self.beta
        return np.array([0.0, 1 / self.slope, -x, -1.0, -1 / self.beta - x]) / total


def fallen(x: Float[np.ndarray, " budgets"], alpha: float) -> Float[np.ndarray, " budgets"]:
    """(1 - exp(-alpha x)) / alpha, and x for alpha = 0: what a base loss of unit slope has fallen since x = 0."""
    return np.asarray(-np.expm1(-alpha * x) / alpha if abs(alpha) > 1e-8 else x - alpha * x**2 / 2)


def base_jacobian(x: Float[np.ndarray, " budgets"], slope: float, alpha: float) -> Float[np.ndarray, "budgets 3"]:
    """Of the base loss in (level, slope, alpha)."""
    if abs(alpha) > 1e-4:
        bend = (x * np.exp(-alpha * x) - fallen(x, alpha)) / alpha
    else:
        bend = -(x**2) / 2 + alpha * x**3 / 3
    return np.column_stack([np.ones_like(x), -fallen(x, alpha), -slope * bend])
