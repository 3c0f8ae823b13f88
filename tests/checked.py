"""The checker that jaxtyping's import hook puts on functions and dataclasses in tests (see conftest.py)."""

from collections.abc import Callable
from typing import TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception

F = TypeVar("F", bound=Callable[..., object])

# An int is welcome where a float is expected, as in mypy.
_CHECK = beartype(conf=BeartypeConf(is_pep484_tower=True))


def by_annotation(function: F) -> F:
    """`function`, checking its annotations on every call, unless one of them is a Protocol.

    isinstance cannot tell whether an object follows a Protocol; mypy does that.
    """
    try:
        return _CHECK(function)
    except BeartypeDecorHintPep3119Exception:
        return function
