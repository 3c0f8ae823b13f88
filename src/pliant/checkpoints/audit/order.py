"""Whether each checkpoint of a run lies where its tokens say, and what it equals but for rounding."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pliant.checkpoints.audit.content_order import Displaced, displaced
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.inspection import Inspection
from pliant.checkpoints.audit.sketch import directions, squared_distances

ROUNDING = 1e-4
"""Mean squared difference of weights scaled to rms one that a change of dtype alone stays below (bf16: about 3e-6)."""


def order_findings(inspections: Sequence[Inspection]) -> tuple[Finding, ...]:
    """Displaced checkpoints of each run, and equal weights in other dtypes.

    A run is what has one seed and is annealed or not alike; of equal tokens the first counts, without a place none.
    """
    return tuple(finding for run in runs(inspections) for finding in _of_run(run))


def runs(inspections: Iterable[Inspection]) -> list[list[Inspection]]:
    """The checkpoints with a place and a sketch, by seed and annealing, each place once, in order."""
    by_run: dict[tuple[int | None, bool | None], dict[int, Inspection]] = {}
    for one in inspections:
        if one.at is not None and one.sketch:
            by_run.setdefault((one.about.seed, one.about.annealed), {}).setdefault(one.at, one)
    return [[places[at] for at in sorted(places)] for places in by_run.values()]


def _of_run(run: Sequence[Inspection]) -> Iterator[Finding]:
    alike = _same_shapes(run)
    rows = directions([one.sketch for one in alike])
    if not rows.size:
        return
    squared = squared_distances(rows)
    yield from _equal_but_for_rounding(alike, squared)
    for one in displaced(squared):
        yield _displaced(alike, one)


def _same_shapes(run: Sequence[Inspection]) -> list[Inspection]:
    """Those whose sketches have the lengths that most have: others are found by their shapes."""
    keys = [tuple((name, len(values)) for name, values in sorted(one.sketch.items())) for one in run]
    usual = max(keys, key=keys.count, default=())
    return [one for one, key in zip(run, keys, strict=True) if key == usual]


def _equal_but_for_rounding(run: Sequence[Inspection], squared: np.ndarray) -> Iterator[Finding]:
    for i, j in zip(*np.nonzero(np.triu(squared < ROUNDING, 1)), strict=True):
        if squared[i, j] == 0 or run[i].dtype != run[j].dtype:
            how = "in every weight sampled" if squared[i, j] == 0 else "but for the rounding of their dtypes"
            message = f"hold the same weights {how}: at most one of them is what its name says"
            yield Finding(check="duplicate", level="error", checkpoints=(run[i].name, run[j].name), message=message)


def _displaced(run: Sequence[Inspection], one: Displaced) -> Finding:
    after, before = (None if place is None else run[place].name for place in (one.after, one.before))
    where = f"between {after} and {before}" if after and before else f"before {before}" if before else f"after {after}"
    message = (
        f"is out of order: by its weights it lies {where} ({one.found:.0%} of its triples agree there, "
        f"{one.stated:.0%} where its tokens put it)"
    )
    return Finding(check="order", level="error", checkpoints=(run[one.place].name,), message=message)
