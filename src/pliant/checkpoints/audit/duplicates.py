"""Checkpoints under several names that hold the same weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from pliant.checkpoints.audit.finding import Finding, named


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkpoint, where it says it lies on the run (tokens, else steps; None for a name such as `main`), and what
    names its weights, None where they could not be read."""

    name: str
    at: int | None
    fingerprint: str | None


def duplicates(places: Sequence[Place]) -> tuple[Finding, ...]:
    """One finding for each set of equal fingerprints.

    An error, unless the set is one placed checkpoint and names without a place: `main` is expected to be the last
    checkpoint (a note); where it is an earlier one, that is a warning.
    """
    last = max((place.at for place in places if place.at is not None), default=None)
    sets: dict[str, list[Place]] = {}
    for place in places:
        if place.fingerprint is not None:
            sets.setdefault(place.fingerprint, []).append(place)
    return tuple(_finding(equal, last) for equal in sets.values() if len(equal) > 1)


def _finding(equal: Sequence[Place], last: int | None) -> Finding:
    names = tuple(place.name for place in equal)
    placed = [place for place in equal if place.at is not None]
    if len(placed) == 1:
        return _alias(names, placed[0], last)
    final = [place.name for place in equal if place.at is None or place.at == last]
    early = tuple(place.name for place in placed if place.at != last)
    if placed and early and final:
        message = f"hold the same weights: those of {named(tuple(final))}, so final weights under early names"
        message += f" ({len(early)} of them)" if len(early) > 1 else ""
    else:
        message = "hold the same weights: at most one of them is what its name says"
    return Finding(check="duplicate", level="error", checkpoints=names, message=message)


def _alias(names: tuple[str, ...], placed: Place, last: int | None) -> Finding:
    others = tuple(name for name in names if name != placed.name)
    if placed.at == last:
        message = f"hold the same weights; {named(others)} is the last checkpoint, as one expects"
        return Finding(check="duplicate", level="note", checkpoints=names, message=message)
    message = f"hold the same weights, so {named(others)} is not the last checkpoint"
    return Finding(check="duplicate", level="warning", checkpoints=names, message=message)
