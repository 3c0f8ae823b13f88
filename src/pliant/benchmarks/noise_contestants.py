"""The sensitivity of one checkpoint to one noise, to a given share of itself: the script people write, and pliant."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pliant.benchmarks.peers import copied_increases, half_spread, transformers_loss
from pliant.checkpoints.about import About
from pliant.data.tasks import EncodedSplit
from pliant.evaluation.block_gradients import block_gradients
from pliant.evaluation.losses import loss_measurement
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.records.numerics import Numerics
from pliant.records.record import Measurement
from pliant.statistics import Reading, base_of, draws_to_precision, gather
from pliant.statistics.precision import FEWEST_EVALUATIONS
from pliant.training.target_losses import planned_forward

SUBSETS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A checkpoint under one noise, how precisely its sensitivity is wanted, and after how many draws to give up."""

    name: str
    model: Any
    about: About
    text: EncodedSplit
    strength: float
    precision: float
    numerics: Numerics
    most: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The increase with its half-width and what it took; `parts` are the increases by the part of the text that they
    were measured on."""

    value: float
    half: float
    evaluations: int
    seconds: float
    parts: tuple[tuple[float, ...], ...]


def script(case: Case, rows: int, seed: int) -> Found:
    """Copy the model, add noise, evaluate on all of the text, until the mean increase is known to `precision`."""
    begun = time.process_time()

    def loss(model: Any) -> float:
        return transformers_loss(model, case.text, rows)

    stds, base, taken = case.about.init_stds or {}, loss(case.model), list[float]()
    for increase in copied_increases(case.model, stds, case.strength, loss, base, seed):
        taken.append(increase)
        known = len(taken) >= FEWEST_EVALUATIONS and half_spread(taken) <= case.precision * abs(fmean(taken))
        if known or len(taken) == case.most:
            break
    return Found(
        value=fmean(taken),
        half=half_spread(taken),
        evaluations=len(taken),
        seconds=time.process_time() - begun,
        parts=(tuple(taken),),
    )


def pliant(case: Case, seed: int) -> Found:
    """What a study does that asks for the control on subsets to `precision`: blocks of draws until none is wanted."""
    noise = Noise(
        scaling="init",
        strength=case.strength,
        draws=2 * SUBSETS,
        antithetic=False,
        control="gradient",
        subsets=SUBSETS,
    )
    begun = time.process_time()
    forward, batch_tokens = planned_forward(case.model, case.numerics), case.numerics.evaluation_batch_tokens
    base = keep_base(case.model)
    gradients = block_gradients(case.model, case.text, forward=forward, batch_tokens=batch_tokens)
    rows = [_reading(_measured(case))]
    have, wanted = 0, noise.draws
    while have < wanted:
        for block in range(have // noise.draws, math.ceil(wanted / noise.draws)):
            for one in noisy_variants(noise, case.model, case.about, base, seed + block, gradients):
                found = _measured(case, draw=one.draw, sign=one.sign, subset=one.subset, linear=one.linear)
                rows.append(_reading(found, modification="noise", strength=noise.strength, seed=seed + block))
        restore(case.model, base)
        increases = _increases(rows)
        have = len(increases)
        wanted = draws_to_precision(increases, precision=case.precision, copies=1, most=case.most)
    return Found(
        value=math.fsum(increases) / have,
        half=half_spread(increases),
        evaluations=have,
        seconds=time.process_time() - begun,
        parts=_by_part(rows),
    )


def _measured(case: Case, **how: Any) -> Measurement:
    return loss_measurement(
        case.model,
        case.text,
        forward=planned_forward(case.model, case.numerics),
        name="test",
        batch_tokens=case.numerics.evaluation_batch_tokens,
        **{"draw": None, "sign": None} | how,
    )


def _reading(found: Measurement, **what: Any) -> Reading:
    return Reading(
        study="benchmark",
        tokens=1,
        evaluation="pretraining-loss",
        metric=found.metric,
        split=found.split,
        value=found.value,
        draw=found.draw,
        sign=found.sign,
        blocks=found.blocks,
        count=found.count,
        linear=found.linear,
        **what,
    )


def _increases(rows: Sequence[Reading]) -> list[float]:
    series = gather(rows)
    one = next(found for key, found in series.items() if key.modification == "noise")
    base = base_of(one.key, series)
    assert base is not None, "the base is measured first"
    return list(one.sensitivity(base).draws[0, 1.0].values())


def _by_part(rows: Sequence[Reading]) -> tuple[tuple[float, ...], ...]:
    base, *copies = rows
    parts: dict[tuple[int, ...], dict[object, list[float]]] = {}
    for row in copies:
        before = sum(sums for sums, count in zip(base.blocks, row.count, strict=True) if count) / sum(row.count)
        parts.setdefault(row.count, {}).setdefault((row.seed, row.draw), []).append(
            row.value - sum(row.linear) / sum(row.count) - before
        )
    return tuple(tuple(sum(pair) / len(pair) for pair in draws.values()) for draws in parts.values())
