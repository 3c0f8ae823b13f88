"""Choosing a few checkpoints among hundreds: bounds, a spacing, or a number of them."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.names import natural_order
from pliant.records.units import format_tokens

Spacing = Literal["linear", "log"]
_NAMED = 6  # how many gaps or names one sentence lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkpoint that can be chosen: its name and where in the run it lies, as far as that is known."""

    name: str
    tokens: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen checkpoints in order, and sentences on what was left out or is missing."""

    places: tuple[Place, ...]
    notes: tuple[str, ...] = ()


def choose(
    places: Sequence[Place],
    *,
    first: int | None = None,
    last: int | None = None,
    every: int | None = None,
    count: int | None = None,
    spacing: Spacing = "linear",
) -> Choice:
    """The places from `first` to `last`: all of them, the nearest to each multiple of `every`, or `count` of them.

    All four are tokens; where no place has tokens they are steps. A place that lacks what is chosen by is left out
    with a note; with nothing asked, all come back in order. `every` gives each multiple the nearest of the places
    that lie within half of `every`; a multiple with none is a gap and noted. The last place is kept in any case: it
    is the one that is asked about. Zero counts as a multiple for an untrained checkpoint only. `count` keeps the
    first and the last; targets between them are spread evenly in tokens, or in log tokens.

    Raises:
        CheckpointError: nothing to choose from, or a request that the places cannot meet.
    """
    _check_request(places, first, last, every, count, spacing)
    scale = _scale(places)
    notes: list[str] = []
    if (first, last, every, count) != (None, None, None, None):
        places = _placed(places, scale, notes)
    ordered = _within(sorted(places, key=scale.order), scale, first, last)
    if every is not None:
        ordered = _nearest_multiples(ordered, scale, every, first, last, notes)
    if count is not None:
        ordered = _spread(ordered, scale, count, spacing)
    return Choice(places=tuple(ordered), notes=tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """What places are measured in."""

    unit: Literal["tokens", "step"]

    def at(self, place: Place) -> int | None:
        return place.tokens if self.unit == "tokens" else place.step

    def known(self, place: Place) -> int:
        at = self.at(place)
        assert at is not None
        return at

    def text(self, at: int) -> str:
        return format_tokens(at) if self.unit == "tokens" else f"step {at:,}"

    def order(self, place: Place) -> tuple[float, float, list[int | str]]:
        at = self.at(place)
        step = math.inf if place.step is None else place.step
        return math.inf if at is None else at, step, natural_order(place.name)

    def there(self, ordered: Sequence[Place]) -> str:
        """`12 checkpoints from 40B to 3.1T`."""
        number = f"{len(ordered)} checkpoint{'' if len(ordered) == 1 else 's'}"
        return f"{number} from {self.text(self.known(ordered[0]))} to {self.text(self.known(ordered[-1]))}"


def _scale(places: Sequence[Place]) -> _Scale:
    return _Scale(unit="tokens" if any(place.tokens is not None for place in places) else "step")


def _check_request(
    places: Sequence[Place], first: int | None, last: int | None, every: int | None, count: int | None, spacing: Spacing
) -> None:
    if not places:
        raise CheckpointError("there are no checkpoints to choose from")
    if every is not None and count is not None:
        raise CheckpointError(f"give every ({every:,}) or count ({count}), not both")
    if every is not None and every < 1:
        raise CheckpointError(f"every must be at least 1, got {every}")
    if count is not None and count < 2:
        raise CheckpointError(f"count must be at least 2, the first and the last checkpoint; got {count}")
    if spacing == "log" and count is None:
        raise CheckpointError("spacing log has an effect with count only: give count, or leave spacing out")
    if first is not None and last is not None and first > last:
        raise CheckpointError(f"the choice from {first:,} to {last:,} is empty: exchange the two")


def _placed(places: Sequence[Place], scale: _Scale, notes: list[str]) -> list[Place]:
    """The places that have a position on the scale; the others are noted."""
    placed = [place for place in places if scale.at(place) is not None]
    without = sorted((place.name for place in places if scale.at(place) is None), key=natural_order)
    if not placed:
        raise CheckpointError(
            f"no checkpoint tells its tokens or step ({_some(without)}): name them as in step1000-tokens4B, "
            "or list them with their tokens by hand"
        )
    if without:
        what = "tokens" if scale.unit == "tokens" else "step"
        notes.append(f"left out, because their {what} {'are' if what == 'tokens' else 'is'} unknown: {_some(without)}")
    return placed


def _within(ordered: list[Place], scale: _Scale, first: int | None, last: int | None) -> list[Place]:
    if first is None and last is None:
        return ordered
    low, high = -math.inf if first is None else first, math.inf if last is None else last
    inside = [place for place in ordered if low <= scale.known(place) <= high]
    if not inside:
        bounds = [f"from {scale.text(first)}"] if first is not None else []
        bounds += [f"to {scale.text(last)}"] if last is not None else []
        raise CheckpointError(f"no checkpoint lies {' '.join(bounds)}; there are {scale.there(ordered)}")
    return inside


def _nearest_multiples(
    ordered: list[Place], scale: _Scale, every: int, first: int | None, last: int | None, notes: list[str]
) -> list[Place]:
    """One place for each multiple; each place stands for its own nearest multiple only, so none is taken twice."""
    nearest: dict[int, Place] = {}
    for place in ordered:
        at = scale.known(place)
        multiple = (2 * at + every) // (2 * every)
        if multiple == 0 and at > 0:
            continue
        held = nearest.get(multiple)
        if held is None or abs(at - multiple * every) < abs(scale.known(held) - multiple * every):
            nearest[multiple] = place
    lowest = min(nearest, default=1) if first is None else max(1, -(-first // every))
    highest = max(nearest, default=0) if last is None else last // every
    if not any(multiple == 0 or lowest <= multiple <= highest for multiple in nearest):
        raise CheckpointError(
            f"no checkpoint lies near a multiple of {_interval(scale, every)}; there are {scale.there(ordered)}"
        )
    taken = [multiple for multiple in sorted(nearest) if multiple == 0 or lowest <= multiple <= highest]
    wanted = range(max(1, lowest), highest + 1)
    gaps = len(wanted) - sum(multiple > 0 for multiple in taken)
    if gaps:  # there may be billions of them: only those named are looked for
        named = itertools.islice((multiple for multiple in wanted if multiple not in nearest), min(gaps, _NAMED))
        which = _listed([scale.text(multiple * every) for multiple in named], gaps)
        notes.append(f"no checkpoint within {_interval(scale, every // 2)} of {which}")
    chosen = [nearest[multiple] for multiple in taken]
    return chosen if chosen[-1] is ordered[-1] else [*chosen, ordered[-1]]


def _interval(scale: _Scale, length: int) -> str:
    return format_tokens(length) if scale.unit == "tokens" else f"{length:,} steps"


def _spread(ordered: list[Place], scale: _Scale, count: int, spacing: Spacing) -> list[Place]:
    if count > len(ordered):
        raise CheckpointError(f"count {count} is more than there is: {scale.there(ordered)}")
    warp: Callable[[float], float] = float if spacing == "linear" else math.log
    if spacing == "log" and scale.known(ordered[0]) == 0:  # zero has no logarithm: it is kept as the first
        if count == 2:
            return [ordered[0], ordered[-1]]
        trained = [place for place in ordered if scale.known(place) > 0]
        if len(trained) >= count - 1:
            return [ordered[0], *_spread(trained, scale, count - 1, spacing)]
        raise CheckpointError(
            f"log spacing takes one untrained checkpoint: {len(trained) + 1} can be chosen, count is {count}"
        )
    at = [warp(scale.known(place)) for place in ordered]
    return [ordered[index] for index in _spread_indices(at, count)]


def _spread_indices(at: list[float], count: int) -> list[int]:
    """`count` rising indices, first and last among them: in turn, the nearest to each target that leaves enough."""
    chosen = [0]
    for turn in range(1, count - 1):
        target = at[0] + (at[-1] - at[0]) * turn / (count - 1)
        free = range(chosen[-1] + 1, len(at) - (count - 1 - turn))
        chosen.append(min(free, key=lambda index: abs(at[index] - target)))
    return [*chosen, len(at) - 1]


def _some(names: list[str]) -> str:
    return _listed(names[:_NAMED], len(names))


def _listed(names: list[str], number: int) -> str:
    return ", ".join(names) + (f" and {number - len(names)} more" if number > len(names) else "")
