"""Checkpoints of one trajectory beside one another: who is whose partner, and which are merged."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pliant.modifications.merge import Part
from pliant.records.identity import Json
from pliant.studies.spec import MergeSpec, SpecError, StudySpec
from pliant.studies.subjects import Subject

_PLACES = ("first", "last", "previous")
Partners = dict[str, Subject]
"""The others that the modifications of one checkpoint need, by the name the study gives them."""


def partners_of(subject: Subject, subjects: Sequence[Subject], spec: StudySpec) -> Partners:
    """The partners that `spec` names for `subject`; none for a checkpoint that would be its own.

    first, last and previous are taken by tokens among those of the same seed and annealing; a name among those of the
    same seed.
    """
    found = {name: _partner(name, subject, subjects) for name in _wanted(spec)}
    return {name: other for name, other in found.items() if other is not None and other is not subject}


def check_partners(spec: StudySpec, subjects: Iterable[Subject]) -> None:
    """Each partner that is called by name must be a checkpoint of the study.

    Raises:
        SpecError: none has that name.
    """
    known = dict.fromkeys(str(subject.labels["checkpoint"]) for subject in subjects)
    for name in _wanted(spec):
        if name not in (*_PLACES, *known):
            choice = ", ".join((*_PLACES, *known))
            raise SpecError(f"interpolate: no checkpoint is called {name!r}; give one of {choice}")


def _wanted(spec: StudySpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.interpolate.partner for m in spec.modifications if m.interpolate is not None))


def _partner(name: str, subject: Subject, subjects: Sequence[Subject]) -> Subject | None:
    line = _in_order(other for other in subjects if other.line == subject.line)
    if name in ("first", "last"):
        return line[0 if name == "first" else -1]
    if name == "previous":
        place = line.index(subject)
        return line[place - 1] if place else None
    seed = subject.labels["pretraining_seed"]
    mine = (other for other in subjects if other.labels["pretraining_seed"] == seed)
    return next((other for other in mine if other.labels["checkpoint"] == name), None)


def merged_subjects(merge: MergeSpec, subjects: Sequence[Subject]) -> Iterator[Subject]:
    """A checkpoint for each run of `window` neighbours of the same seed and annealing, named after the newest.

    Its tokens, learning rate and annealing are the newest's: they say what was trained, not what merging stands for.

    Raises:
        SpecError: fewer members than the window.
    """
    weights = merge.coefficients()
    lines = [_in_order(s for s in subjects if s.line == line) for line in dict.fromkeys(s.line for s in subjects)]
    if len(weights) > max(len(line) for line in lines):
        raise SpecError(
            f"merge: {merge.of} has {max(len(line) for line in lines)} checkpoint(s) of one seed, the window takes "
            f"{len(weights)}; lower window, or give more checkpoints"
        )
    for line in lines:
        for newest in range(len(weights) - 1, len(line)):
            yield _merged(line[newest - len(weights) + 1 : newest + 1], weights)


def _merged(members: Sequence[Subject], weights: Sequence[float]) -> Subject:
    what: dict[str, Json] = {
        "kind": "merge",
        "members": [member.identity for member in members],
        "weights": list(weights),
    }
    parts = tuple(
        Part(folder=part.folder, weight=weight)
        for member, weight in zip(members, weights, strict=True)
        for part in member.parts
    )
    return replace(members[-1], identity=what, parts=parts)


def _in_order(subjects: Iterable[Subject]) -> list[Subject]:
    """By tokens; those whose tokens are not known keep their order, after the others."""

    def tokens(subject: Subject) -> float:
        known = subject.labels["tokens"]
        return float(known) if isinstance(known, int) else float("inf")

    return sorted(subjects, key=tokens)
