"""A finished study folder of any size: its real plan, and record files of the real form with planted numbers."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pliant.execution.planned import write_plan
from pliant.modifications.finetune import FineTune
from pliant.modifications.noise import Noise
from pliant.records.identity import canonical_json
from pliant.records.record import Measurement, Record
from pliant.studies.cells import CellPlan, EvaluationPlan
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, NoiseSpec, PruneSpec, QuantiseSpec
from pliant.studies.plan import Plan
from pliant.studies.settling import planned, prepare
from pliant.studies.small_ladders import consecutive, geometric, ladder
from pliant.studies.spec import HeldOutSpec, StudySpec

RUNS, DECAYS = 3, (0.1, 0.0)
BLOCKS, TOKENS_A_BLOCK = 32, 256
TENSORS = 24
GAMMAS = (0.02, 0.05, 0.1, 0.2, 0.3)


def audit(cells: int) -> StudySpec:
    """An audit of at least `cells` cells: two pre-training recipes, three runs of each, every n-th checkpoint.

    At each checkpoint there is noise in two scalings at five strengths with two blocks of eight antithetic draws,
    quantisation and pruning, and four ways of fine-tuning at thirteen rates with three or more seeds.
    """
    changes = (
        ModificationSpec(noise=NoiseSpec(scaling="init", strengths=GAMMAS, blocks=2)),
        ModificationSpec(noise=NoiseSpec(scaling="relative", strengths=GAMMAS, blocks=2)),
        ModificationSpec(quantise=QuantiseSpec(bits=(8, 4, 3))),
        ModificationSpec(prune=PruneSpec(shares=(0.2, 0.5))),
        *(_tuned(task, steps, seeds=5) for task in ("skip", "sibling") for steps in (30, 100)),
    )
    checkpoints = math.ceil(cells / (1 + 20 + 5 + 4 * 13 * 5))
    budgets = max(2, math.ceil(checkpoints / (RUNS * len(DECAYS))))
    return StudySpec(
        study="audit",
        corpus="markov:7",
        held_out=HeldOutSpec(tokens=BLOCKS * TOKENS_A_BLOCK, task_rows=256),
        trajectories=tuple(
            ladder(
                f"weight decay {decay:g}",
                "width-8-markov",
                steps=range(100, 100 + 100 * budgets, 100),
                seeds=consecutive(1, RUNS),
                weight_decay=decay,
            )
            for decay in DECAYS
        ),
        modifications=changes,
    )


def _tuned(task: str, steps: int, *, seeds: int) -> ModificationSpec:
    rates = geometric(1e-3, 2**0.5, 13)
    return ModificationSpec(
        fine_tune=FineTuneSpec(task=task, learning_rates=rates, steps=steps, batch=8, seeds=consecutive(0, seeds))
    )


def write_finished(folder: Path, cells: int) -> Plan:
    """Make `folder` the folder of a finished `audit`: everything but its weights."""
    plan = planned(audit(cells), folder)
    prepare(plan)
    write_plan(plan.folder, plan.spec.study, plan.cells(), plan.data_notes)
    random = np.random.default_rng(7)
    for place, group in enumerate(plan.groups):
        for cell in group.cells:
            _write(folder, cell, f"sha256:{place:064x}", random)
    return plan


def _write(folder: Path, cell: CellPlan, weights: str, random: np.random.Generator) -> None:
    """The cell's records and its run.json, written plainly: nothing reads the folder yet."""
    home = f"{folder}/records/{cell.key}"
    os.makedirs(home)
    place = _Place.of(cell)
    for evaluation in cell.evaluations:
        record = Record(
            cell=cell.identity,
            evaluation=evaluation.identity,
            weights=weights,
            status="ok",
            measurements=tuple(_measurements(cell, evaluation, place, random)),
            details={},
        )
        with open(f"{home}/{evaluation.key}.json", "x") as file:
            file.write(canonical_json(record.to_json()) + "\n")
    with open(f"{home}/run.json", "x") as file:
        file.write('{"attempts": 1, "error": "", "host": "node", "process": 1, "seconds": 0.1, "started": 0.0}\n')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a cell lies: the base loss there, and what the modification adds to it and to the task loss."""

    base: float
    harm: float
    task: float
    moved: float

    @classmethod
    def of(cls, cell: CellPlan) -> "_Place":
        """Base loss falls with the budget, harm grows with it; fine-tuning is a parabola in log rate."""
        steps, strength = float(cell.labels["tokens"]) / 51_200, float(cell.labels["strength"])  # type: ignore[arg-type]
        tuning = isinstance(cell.modification, FineTune)
        off = math.log(strength / (0.02 * steps**-0.2)) if tuning else 0.0
        return cls(
            base=1.6 + 0.9 * steps**-0.4,
            harm=(0.3 * strength**0.7 if tuning else 3 * strength**2) * steps**0.4,
            task=2.4 - 0.1 * math.log(steps) + 0.08 * off**2,
            moved=60 * strength,
        )


def _measurements(
    cell: CellPlan, evaluation: EvaluationPlan, place: _Place, random: np.random.Generator
) -> Iterator[Measurement]:
    if evaluation.kind == "pretraining-loss" and isinstance(cell.modification, Noise):
        for draw in range(8 * cell.seed, 8 * cell.seed + 8):
            for sign in (1, -1):
                yield _loss(place.base + place.harm * random.uniform(0.5, 1.5), "test", random, draw, sign)
    elif evaluation.kind == "pretraining-loss":
        yield _loss(place.base + place.harm, "test", random)
    elif evaluation.kind == "task-loss":
        yield from (_loss(place.task, split, random) for split in ("validation", "test"))
    elif evaluation.kind == "displacement":
        yield Measurement(metric="distance", value=place.moved * random.uniform(0.9, 1.1))
        yield Measurement(metric="relative_distance", value=place.moved / 40)
    elif evaluation.kind == "adaptation":
        blocks = tuple(random.normal(place.task, 0.1, 16).tolist())
        yield Measurement(metric="adaptation_nats", value=math.fsum(blocks) / 16, blocks=blocks, count=(1,) * 16)
    else:
        names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(TENSORS)]
        for metric in ("norm", "rms"):
            yield from (Measurement(metric=metric, tensor=name, value=random.uniform(1, 2)) for name in names)


def _loss(
    value: float, split: str, random: np.random.Generator, draw: int | None = None, sign: int | None = None
) -> Measurement:
    """A loss whose blocks scatter around `value`."""
    blocks = tuple((value * TOKENS_A_BLOCK + random.normal(0, 8, BLOCKS)).tolist())
    count = (TOKENS_A_BLOCK,) * BLOCKS
    exact = math.fsum(blocks) / sum(count)
    return Measurement(metric="loss_nats", value=exact, split=split, draw=draw, sign=sign, blocks=blocks, count=count)
