"""Whether checkpoints lie where their tokens say, judged by how far their weights are from one another.

Along a training run weights move without jumps, so of three checkpoints the middle one is nearer to each of the others
than those are to each other. A triple *speaks* where that is plain:

    d(a, b)^2 > CLEAR * max(d(a, m)^2, d(m, b)^2)        "m lies between a and b"

From the stated order, single checkpoints are moved, each time the one that gains most agreeing triples, until none
gains: the order *found*. Checkpoints off the longest chain that both orders share, and at least `NEAREST_MOVE` places
apart in them, are displaced. They are reported only where content does determine an order:

    at least TRUSTED of all speaking triples agree with the order found;
    at least LINKED of its inner checkpoints lie between near ones of both sides, and no near triple denies it;
    at most MOST_DISPLACED of all checkpoints are displaced.

Runs that are independent are equally far from each other: their triples do not speak. Runs that share their beginning
are a star, whose inner checkpoints are not linked. So independent runs give no finding. False alarms and power:
docs/audit.md, measured in tests/unit/test_audit_order.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

CLEAR = 1.15
FEWEST = 5
TRUSTED = 0.95
LINKED = 0.7
NEAR = 2
MOST_DISPLACED = 0.34
NEAREST_MOVE = 2
LARGEST = 256
"""Longer runs are judged in windows of so many checkpoints, half overlapping: triples grow with the cube."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """The checkpoint at `place` of the stated order lies between those at `after` and `before` by its weights.

    `stated` and `found` are the shares of its speaking triples that agree with the stated place and with the one found.
    """

    place: int
    after: int | None
    before: int | None
    stated: float
    found: float


def displaced(squared: Float[np.ndarray, "n n"]) -> tuple[Displaced, ...]:
    """The checkpoints whose weights lie elsewhere along the run than the order of the rows of `squared` says.

    `squared` holds squared distances; nothing is found among fewer than `FEWEST` checkpoints.
    """
    if len(squared) <= LARGEST:
        return _displaced(squared)
    starts = [*range(0, len(squared) - LARGEST, LARGEST // 2), len(squared) - LARGEST]
    windows = [(start, _displaced(squared[start : start + LARGEST, start : start + LARGEST])) for start in starts]
    return tuple({one.place: one for start, some in windows for one in _shifted(some, start)}.values())


def _shifted(some: tuple[Displaced, ...], by: int) -> Iterator[Displaced]:
    for one in some:
        after, before = (None if place is None else place + by for place in (one.after, one.before))
        yield Displaced(place=one.place + by, after=after, before=before, stated=one.stated, found=one.found)


def _displaced(squared: Float[np.ndarray, "n n"]) -> tuple[Displaced, ...]:
    n = len(squared)
    if n < FEWEST:
        return ()
    between = speaking_triples(squared)
    order = found_order(between)
    off = _off_the_chain(order)
    if not 0 < len(off) <= MOST_DISPLACED * n:
        return ()
    if agreement(between, order).sum() < TRUSTED * _spoken(between).sum() or _linked(between, order) < LINKED:
        return ()
    now, then = agreement(between, order), agreement(between, np.arange(n))
    spoken = np.maximum(_spoken(between), 1)
    moves = [(place, int(np.flatnonzero(order == place)[0])) for place in off]
    return tuple(
        Displaced(
            place=place,
            after=int(order[new - 1]) if new else None,
            before=int(order[new + 1]) if new + 1 < n else None,
            stated=float(then[place] / spoken[place]),
            found=float(now[place] / spoken[place]),
        )
        for place, new in moves
        if abs(new - place) >= NEAREST_MOVE
    )


def speaking_triples(squared: Float[np.ndarray, "n n"]) -> Bool[np.ndarray, "n n n"]:
    """[a, m, b]: m lies between a and b, whose distance is clearly the longest of the three."""
    shorter = np.maximum(squared[:, :, None], squared[None, :, :])
    return np.asarray(squared[:, None, :] > CLEAR * shorter)


def agreement(between: Bool[np.ndarray, "n n n"], order: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """For each checkpoint, how many of the speaking triples it belongs to agree with `order`."""
    n = len(order)
    ordered = between[np.ix_(order, order, order)] & np.triu(np.ones((n, n), dtype=bool), 1)[:, None, :]
    inside = np.arange(n)
    ordered &= (inside[:, None, None] < inside[None, :, None]) & (inside[None, :, None] < inside[None, None, :])
    counts = np.empty(n)
    counts[order] = ordered.sum(axis=(1, 2)) + ordered.sum(axis=(0, 2)) + ordered.sum(axis=(0, 1))
    return counts


def _spoken(between: Bool[np.ndarray, "n n n"]) -> Float[np.ndarray, " n"]:
    """How many speaking triples each checkpoint belongs to; [a, m, b] and [b, m, a] are one."""
    return np.asarray(between.sum(axis=(1, 2)) / 2 + between.sum(axis=(0, 2)) / 2 + between.sum(axis=(0, 1)) / 2)


def found_order(between: Bool[np.ndarray, "n n n"]) -> Int[np.ndarray, " n"]:
    """The stated order 0..n-1 after single moves, the most gainful first, until no move gains agreeing triples."""
    order = np.arange(len(between))
    spoken = _spoken(between)
    for _ in range(len(between)):  # more moves than members: no order is trusted then
        content = agreement(between, order) == spoken  # every triple agrees already: no move gains
        gains = [(0.0, 0, 0)]
        for place, member in enumerate(order):
            if content[member]:
                continue
            rest = np.delete(order, place)
            slots = _votes(between, rest, int(member))
            gains.append((float(slots.max() - slots[place]), place, int(slots.argmax())))
        gain, place, slot = max(gains, key=lambda one: one[0])
        if gain <= 0:
            break
        order = np.insert(np.delete(order, place), slot, order[place])
    return order


def _votes(
    between: Bool[np.ndarray, "n n n"], rest: Int[np.ndarray, " others"], member: int
) -> Float[np.ndarray, " slots"]:
    """For each slot of `rest`, before its first to after its last, the triples with `member` there that agree."""
    n = len(rest)
    left, right = np.nonzero(np.triu(between[rest, member][:, rest], 1))  # it lies between these
    end, middle = np.nonzero(between[rest, :, member][:, rest])  # it lies beyond `middle`, seen from `end`
    beyond = middle[end < middle]
    short = middle[end > middle]
    changes = np.bincount(left + 1, minlength=n + 2) - np.bincount(right + 1, minlength=n + 2)
    changes += np.bincount(beyond + 1, minlength=n + 2) - np.bincount(short + 1, minlength=n + 2)
    return np.asarray(np.cumsum(changes)[: n + 1] + len(short), dtype=np.float64)


def _linked(between: Bool[np.ndarray, "n n n"], order: Int[np.ndarray, " n"]) -> float:
    """The share of inner checkpoints that lie between near ones of both sides, with no near triple against it."""
    inner = range(1, len(order) - 1)
    return sum(_is_linked(between, order, at) for at in inner) / len(inner)


def _is_linked(between: Bool[np.ndarray, "n n n"], order: Int[np.ndarray, " n"], at: int) -> bool:
    left, right = order[max(0, at - NEAR) : at], order[at + 1 : at + 1 + NEAR]
    member = order[at]
    agree = between[np.ix_(left, [member], right)].any()
    deny = between[np.ix_([member], left, right)].any() or between[np.ix_(left, right, [member])].any()
    return bool(agree and not deny)


def _off_the_chain(order: Int[np.ndarray, " n"]) -> list[int]:
    """Who is not on the longest chain that rises in `order`; of equally long ones, the chain that moved least."""
    best: list[tuple[int, int, list[int]]] = []  # length, minus places moved, members
    for new, member in enumerate(order.tolist()):
        length, moved, chain = max(
            (one for one in best if one[2][-1] < member), key=lambda one: one[:2], default=(0, 0, [])
        )
        best.append((length + 1, moved - abs(new - member), [*chain, member]))
    kept = set(max(best, key=lambda one: one[:2])[2])
    return [member for member in range(len(order)) if member not in kept]
