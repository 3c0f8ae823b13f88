"""Noise that is drawn on until the intervals on which a verdict hangs are narrow, on planted records."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_studies
from pliant.execution.table import Table
from pliant.statistics import Curve, over_draws
from pliant.statistics.precision import draws_to_half_width, open_budgets
from pliant.studies.growth import with_precision
from pliant.studies.modification_spec import AddedDraws, NoiseSpec
from pliant.studies.precision import draw_on
from pliant.studies.spec import SpecError, StudySpec

BUDGETS = (1000, 2000, 4000, 8000, 16000, 32000)
STRENGTH = 0.1
TARGET = 0.01
MOST = 64


def wanted(increases: list[float], half_width: float, most: int = 1000) -> int:
    return draws_to_half_width(increases, half_width=half_width, copies=2, most=most)


def test_the_target_is_in_the_unit_of_the_loss_whatever_the_mean():
    values = np.random.default_rng(0).normal(0.0, 0.1, size=16)
    half = (over_draws(values.tolist(), seed=0).high - over_draws(values.tolist(), seed=0).low) / 2
    for mean in (0.0, 1.0, 50.0):
        assert wanted((values + mean).tolist(), half * 1.001) == 16
        assert wanted((values + mean).tolist(), half / math.sqrt(1.99)) == 32
    assert wanted(values.tolist(), half / 100) == 48  # three times as many at once
    assert wanted(values.tolist(), half / 100, most=40) == 40


def test_a_verdict_hangs_on_the_last_budget_and_on_those_that_may_be_lowest():
    def curve(*losses: float) -> Curve:
        spread = (-0.01, 0.0, 0.01)
        budgets = BUDGETS[: len(losses)]
        return Curve(
            draws={(s, b): {0: loss + spread[s]} for s in range(3) for b, loss in zip(budgets, losses, strict=True)}
        )

    assert open_budgets(curve(3.0, 2.5, 2.0, 2.2, 2.6)) == {4000, 16000}
    assert open_budgets(curve(3.0, 2.5, 2.0, 2.0, 2.6)) == {4000, 8000, 16000}
    assert open_budgets(curve(3.0, 2.5, 2.0)) == {2000, 4000}
    assert open_budgets(curve(3.0)) == {1000}


def study(**changes: Any) -> StudySpec:
    noise = {"strengths": [STRENGTH], "draws": 8, "half_width": TARGET, "most": MOST} | changes
    return tiny_studies.tiny({"modifications": [{"noise": noise}]})


def noise_of(spec: StudySpec) -> NoiseSpec:
    noise = spec.modifications[0].noise
    assert noise is not None
    return noise


def sensitivity(seed: int, budget: int, block: int, draw: int) -> float:
    """Mean (budget / 8000)^1.5 / 4, scatter a tenth of it, of each draw its own."""
    mean = 0.25 * (budget / 8000) ** 1.5
    return mean * (1 + 0.1 * float(np.random.default_rng([seed, block, draw]).normal()))


def rows(spec: StudySpec, seeds: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        for budget in BUDGETS:
            shared = {
                "study": "tiny", "trajectory": "main", "checkpoint": f"{budget}", "tokens": budget, "status": "ok",
                "pretraining_seed": seed, "annealed": True, "metric": "loss_nats", "evaluation": "pretraining-loss",
            }  # fmt: skip
            base = 3.0 - 0.5 * math.log2(budget / 1000) + 0.001 * seed
            yield shared | {"modification": "none", "value": base}
            for block in range(noise_of(spec).blocks_at(("main", f"{budget}", seed, STRENGTH))):
                label = noise_of(spec).modifications()[0].label
                noisy = shared | {"modification": "noise", "label": label, "strength": STRENGTH, "seed": block}
                for draw in range(8):
                    value = base + sensitivity(seed, budget, block, draw)
                    yield from (noisy | {"draw": draw, "sign": sign, "value": value} for sign in (1, -1))


def finished(spec: StudySpec, seeds: tuple[int, ...]) -> StudySpec:
    while (more := draw_on(spec, table(spec, seeds))) != spec:
        spec = more
    return spec


def table(spec: StudySpec, seeds: tuple[int, ...]) -> Table:
    found = tuple(rows(spec, seeds))
    return Table(folder=Path(), study="tiny", rows=found, planned=0, missing=0, failed=(), settings="")


def half_width(seed: int, budget: int, blocks: int) -> float:
    found = over_draws([sensitivity(seed, budget, b, d) for b in range(blocks) for d in range(8)], seed=seed)
    return (found.high - found.low) / 2


def test_with_several_runs_draws_go_where_the_verdict_hangs_until_the_target_or_the_most():
    spec = finished(study(), (1, 2, 3))
    added = {(one.checkpoint, one.seed): one for one in noise_of(spec).added}
    lowest = min(BUDGETS, key=lambda b: 3.0 - 0.5 * math.log2(b / 1000) + 0.25 * (b / 8000) ** 1.5)
    assert {int(name) for name, _ in added} <= {lowest, BUDGETS[-2], BUDGETS[-1], 4000, 8000}
    assert "32000" in {name for name, _ in added}
    assert not {"1000", "2000"} & {name for name, _ in added}
    for seed in (1, 2, 3):
        for budget in (lowest, BUDGETS[-1]):
            one = added[f"{budget}", seed]
            assert half_width(seed, budget, 1 + one.blocks) <= TARGET or 8 * (1 + one.blocks) == MOST
            assert one.open
            assert one.half_width is not None


def test_the_draws_of_a_single_run_are_those_that_all_its_checkpoints_share():
    spec = finished(study(), (1,))
    added = noise_of(spec).added
    assert {one.checkpoint for one in added} == {f"{budget}" for budget in BUDGETS}
    assert len({one.blocks for one in added}) == 1
    assert {one.open for one in added} == {True, False}


def test_from_the_same_records_the_same_is_drawn_again():
    found = finished(study(), (1, 2))
    assert finished(study(), (1, 2)) == found
    assert draw_on(found, table(found, (1, 2))) == found
    assert draw_on(study(half_width=10.0, blocks=2), table(study(blocks=2), (1, 2))) == study(half_width=10.0, blocks=2)


def test_the_command_line_names_the_unit():
    plain = study(half_width=None, most=None)
    assert noise_of(with_precision(plain, "0.005")).half_width == 0.005
    assert noise_of(with_precision(plain, "0.005")).precision is None
    assert noise_of(with_precision(study(), "5%")).precision == 0.05
    assert noise_of(with_precision(study(), "5%")).half_width is None
    for asked in ("0", "-1", "much", "100%", "nan"):
        with pytest.raises(SpecError, match=f"nats per token, like 0.005, or a share .* like 5%; got {asked}"):
            with_precision(plain, asked)
    with pytest.raises(SpecError, match="has no effect: tiny asks for no noise"):
        with_precision(tiny_studies.tiny({"modifications": []}), "0.1")


def test_a_share_and_nats_at_once_are_refused_and_older_files_open():
    with pytest.raises(
        SpecError, match=r"give precision \(0.05 of each sensitivity\) or half_width \(0.01 nats\), not both"
    ):
        study(precision=0.05)
    older = {"trajectory": "main", "checkpoint": "512", "seed": 1, "strength": 0.1, "blocks": 2}
    assert noise_of(study(added=[older])).added == (AddedDraws.model_validate(older),)
