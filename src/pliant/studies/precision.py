"""Draws that a study adds to itself until each interval is as narrow as it asks for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pliant.execution.table import Table
from pliant.statistics import Series, base_of, draws_to_precision, gather, over_draws
from pliant.statistics.precision import draws_to_half_width, half_width_of, open_budgets
from pliant.studies.growth import merged
from pliant.studies.modification_spec import AddedDraws, ModificationSpec, NoiseSpec, Place
from pliant.studies.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """The sensitivities drawn at one checkpoint and strength, nats per token.

    `open` says that the verdict hangs on them. `run` names the run where it is the only one: the draws of such a run
    count where all its checkpoints have them.
    """

    label: str
    strength: float
    place: Place
    increases: tuple[float, ...]
    open: bool
    run: tuple[str, str] | None


def draw_on(spec: StudySpec, table: Table) -> StudySpec:
    """`spec` with the blocks of draws added that the intervals in `table` lack to what its noise asks for.

    To a `precision` each checkpoint and strength by itself. To a `half_width` only those checkpoints on which the
    verdict hangs; where there is a single run, its other checkpoints too, since the verdict takes the draws that all
    of them share. All records must be there.
    """
    if not any(entry.noise is not None and entry.noise.adaptive for entry in spec.modifications):
        return spec
    series = gather(table.readings())
    drawn = [
        one
        for each in series.values()
        if each.key.modification == "noise" and each.key.evaluation == "pretraining-loss"
        for one in _drawn(each, base_of(each.key, series))
    ]
    return spec.model_copy(update={"modifications": tuple(_grown(entry, drawn) for entry in spec.modifications)})


def _drawn(one: Series, base: Series | None) -> Iterator[_Drawn]:
    if base is None:
        return
    curve = one.sensitivity(base)
    hangs, alone = open_budgets(one.curve()), len(curve.seeds) == 1
    for at, rows in one.points.items():
        if at in curve.draws:
            yield _Drawn(
                label=one.key.label,
                strength=one.key.strength,
                place=(rows[0].trajectory, rows[0].checkpoint, rows[0].pretraining_seed),
                increases=tuple(curve.draws[at].values()),
                open=at[1] in hangs,
                run=(one.key.trajectory, one.key.members) if alone else None,
            )


def _grown(entry: ModificationSpec, drawn: Sequence[_Drawn]) -> ModificationSpec:
    noise = entry.noise
    if noise is None or not noise.adaptive:
        return entry
    label = noise.modifications()[0].label
    mine = [one for one in drawn if one.label == label and one.strength in noise.strengths]
    wanted = _wanted(noise, mine)
    more = [_added(noise, one, wanted[one.strength, one.place]) for one in mine]
    added = merged(noise.added, [one for one in more if one is not None])
    return entry.model_copy(update={"noise": noise.model_copy(update={"added": added})})


def _wanted(noise: NoiseSpec, drawn: Sequence[_Drawn]) -> Mapping[tuple[float, Place], int]:
    """The draws in all that each checkpoint should have at each strength."""
    wanted = {(one.strength, one.place): _needed(noise, one) for one in drawn}
    runs: dict[tuple[float, tuple[str, str]], int] = {}
    for one in drawn:
        if one.run is not None and noise.half_width is not None:
            shared = (one.strength, one.run)
            runs[shared] = max(runs.get(shared, 0), wanted[one.strength, one.place])
    return {
        (one.strength, one.place): max(
            wanted[one.strength, one.place], runs.get((one.strength, one.run), 0) if one.run is not None else 0
        )
        for one in drawn
    }


def _needed(noise: NoiseSpec, one: _Drawn) -> int:
    copies = 2 if noise.antithetic else 1
    if noise.precision is not None:
        return draws_to_precision(one.increases, precision=noise.precision, copies=copies, most=noise.most_draws)
    if noise.half_width is None or not one.open:
        return len(one.increases)
    return draws_to_half_width(one.increases, half_width=noise.half_width, copies=copies, most=noise.most_draws)


def _added(noise: NoiseSpec, one: _Drawn, draws: int) -> AddedDraws | None:
    """The blocks that one checkpoint has beyond the others; None where it has none."""
    trajectory, checkpoint, seed = one.place
    blocks = math.ceil(draws / noise.draws) - noise.blocks - noise.added_blocks
    if blocks < 1:
        return None
    half = half_width_of(over_draws(list(one.increases), seed=0))
    return AddedDraws(
        trajectory=trajectory,
        checkpoint=checkpoint,
        seed=seed,
        strength=one.strength,
        blocks=blocks,
        half_width=half if math.isfinite(half) else None,
        open=one.open,
    )
