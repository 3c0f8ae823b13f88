"""What the functions of this package accept, and what they say when given something else."""

import numpy as np
from jaxtyping import Float

Numbers = float | Float[np.ndarray, "..."]
"""A number or an array of them; functions that take it broadcast as their docstrings say."""


def not_negative(**given: Numbers) -> None:
    """Refuse what is negative or not finite.

    Raises:
        ValueError: naming the first such argument and its first such value.
    """
    for name, value in given.items():
        if not np.all(np.greater_equal(value, 0) & np.isfinite(value)):
            _refuse(name, value, np.asarray(np.less(value, 0)), "zero or more")


def positive(**given: Numbers) -> None:
    """Refuse what is not above zero and finite.

    Raises:
        ValueError: naming the first such argument and its first such value.
    """
    for name, value in given.items():
        if not np.all(np.greater(value, 0) & np.isfinite(value)):
            _refuse(name, value, np.asarray(np.less_equal(value, 0)), "more than zero")


def _refuse(name: str, value: Numbers, outside: np.ndarray, bound: str) -> None:
    first = np.asarray(value)[outside | ~np.isfinite(value)].flat[0]
    raise ValueError(f"{name} is or contains {first:g}: give finite numbers, {bound}")
