"""Draws that a study adds to itself until each interval is as narrow as it asks for."""

import math
from collections.abc import Iterator, Mapping

from pliant.execution.table import Table
from pliant.statistics import Series, base_of, draws_to_precision, gather, readings
from pliant.studies.growth import merged
from pliant.studies.modification_spec import AddedDraws, ModificationSpec, NoiseSpec
from pliant.studies.spec import StudySpec

_Place = tuple[str, str, int | None]
"""Trajectory, checkpoint, pre-training seed."""


def draw_on(spec: StudySpec, table: Table) -> StudySpec:
    """`spec` with the blocks of draws added that the intervals in `table` lack to the `precision` its noise asks for.

    Each checkpoint and strength by itself, of which all records must be there.
    """
    if not any(entry.noise is not None and entry.noise.precision for entry in spec.modifications):
        return spec
    series = gather(readings(table.rows))
    increases = {
        (one.key.label, one.key.strength, place): draws
        for one in series.values()
        if one.key.modification == "noise" and one.key.evaluation == "pretraining-loss"
        for place, draws in _increases(one, base_of(one.key, series))
    }
    entries = tuple(_grown(entry, increases) for entry in spec.modifications)
    return spec.model_copy(update={"modifications": entries})


def _increases(one: Series, base: Series | None) -> Iterator[tuple[_Place, list[float]]]:
    if base is None:
        return
    draws = one.sensitivity(base).draws
    for at, rows in one.points.items():
        if at in draws:
            yield (rows[0].trajectory, rows[0].checkpoint, rows[0].pretraining_seed), list(draws[at].values())


def _grown(entry: ModificationSpec, increases: Mapping[tuple[str, float, _Place], list[float]]) -> ModificationSpec:
    noise = entry.noise
    if noise is None or noise.precision is None:
        return entry
    label = noise.modifications()[0].label
    mine = ((where, draws) for where, draws in increases.items() if where[0] == label and where[1] in noise.strengths)
    wanted = (_wanted(noise, noise.precision, strength, place, draws) for (_, strength, place), draws in mine)
    more = [one for one in wanted if one is not None]
    return entry.model_copy(update={"noise": noise.model_copy(update={"added": merged(noise.added, more)})})


def _wanted(
    noise: NoiseSpec, precision: float, strength: float, place: _Place, increases: list[float]
) -> AddedDraws | None:
    """The blocks that one place lacks; None where it lacks none."""
    trajectory, checkpoint, seed = place
    copies = 2 if noise.antithetic else 1
    draws = draws_to_precision(increases, precision=precision, copies=copies, most=noise.most_draws)
    blocks = math.ceil(draws / noise.draws) - noise.blocks - noise.added_blocks
    if blocks < 1:
        return None
    return AddedDraws(trajectory=trajectory, checkpoint=checkpoint, seed=seed, strength=strength, blocks=blocks)
