"""Contestants in turn: what else the machine does falls on all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pliant.benchmarks.result import Figure

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Peer over ours, round by round: the median, the smallest and the largest."""

    value: float
    low: float
    high: float


def in_turns(
    contestants: Mapping[str, Callable[[], object]], rounds: int, *, clock: Clock = "cpu", warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; every round begins with another one.

    `cpu` is the time of this process and its threads, for work on one core; `wall` where waiting, or more than one
    process, is part of the work. `warm` runs each once before.
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    names = list(contestants)
    if warm:
        for run in contestants.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begun = now()
            contestants[name]()
            seconds[name].append(now() - begun)
    return seconds


def ratio(peer: list[float], ours: list[float]) -> Ratio:
    """Of seconds in the same rounds."""
    each = [theirs / mine for theirs, mine in zip(peer, ours, strict=True)]
    return Ratio(value=median(each), low=min(each), high=max(each))


def best(seconds: Mapping[str, list[float]]) -> str:
    """The contestant with the smallest median."""
    return min(seconds, key=lambda name: median(seconds[name]))


def times_as_fast(
    what: str, peer: str, peers: list[float], ours: list[float], target: float, *, peak_share: float | None = None
) -> Figure:
    """How many times as fast ours is as `peer`, from the seconds of both."""
    found = ratio(peers, ours)
    return Figure(
        what=what,
        peer=peer,
        value=found.value,
        low=found.low,
        high=found.high,
        target=target,
        peak_share=peak_share,
    )
