"""Paired sensitivity, L(theta') - L(theta) on the same tokens, and the averaging of antithetic pairs."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from pliant.statistics.curve import Curve, Draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The loss of one theta'; `count` holds its tokens a block, `sign` its place in an antithetic pair."""

    draw: Hashable
    sign: int | None
    loss: float
    count: tuple[int, ...] = ()


def paired_draws(copies: Iterable[Copy]) -> dict[Hashable, float]:
    """draw -> loss, the two members of an antithetic pair averaged: they are one draw, not two.

    Raises:
        ValueError: a draw holds the same sign twice.
    """
    members: dict[Hashable, dict[int | None, float]] = {}
    for copy in copies:
        pair = members.setdefault(copy.draw, {})
        if copy.sign in pair:
            raise ValueError(f"draw {copy.draw!r} holds sign {copy.sign} twice; give each theta' once")
        pair[copy.sign] = copy.loss
    return {draw: math.fsum(pair.values()) / len(pair) for draw, pair in members.items()}


def require_same_tokens(copies: Iterable[Copy], base: Copy) -> None:
    """A difference of losses is paired only when both were summed over the same blocks.

    A copy may have been measured on some of them alone; the others count 0 tokens.

    Raises:
        ValueError: the tokens a block differ from those of the base.
    """
    for copy in copies:
        if copy.count and base.count and not _same(copy.count, base.count):
            raise ValueError(
                f"draw {copy.draw!r} was measured on {sum(copy.count)} tokens in {len(copy.count)} blocks, "
                f"the base on {sum(base.count)} in {len(base.count)}; measure both with the same settings"
            )


def _same(count: tuple[int, ...], base: tuple[int, ...]) -> bool:
    if count == base:
        return True
    return len(count) == len(base) and all(mine in (0, whole) for mine, whole in zip(count, base, strict=True))


def sensitivity(modified: Curve, base: Curve) -> Curve:
    """modified - base at every seed and budget where both are, draw by draw. Units: those of the losses."""
    keys = [key for key in modified.draws if key in base.draws]
    texts = [key for key in keys if len(modified.text.get(key, ())) == len(base.text.get(key, ())) > 0]
    return Curve(
        draws={key: _less(modified.draws[key], base.value(*key)) for key in keys},
        text={key: tuple(m - b for m, b in zip(modified.text[key], base.text[key], strict=True)) for key in texts},
    )


def _less(draws: Draws, base: float) -> Mapping[Hashable, float]:
    return {draw: value - base for draw, value in draws.items()}
