"""A study folder with planted effects: real files that `read_table` opens, no model behind them.

Noise of strength gamma adds a sensitivity that grows with budget, so that large gamma turns the loss up;
fine-tuning loss is a parabola in log rate whose optimum falls with budget.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pliant.execution.store import Store
from pliant.execution.table import PlannedCell, Table, read_table, write_plan
from pliant.records.identity import Json, canonical_json, digest
from pliant.records.record import Measurement, Record, Status

BUDGETS = (204_800, 409_600, 819_200, 1_638_400, 3_276_800, 6_553_600)
GAMMAS = (0.05, 0.1, 0.2)
RATES = tuple(0.001 * 1.4**i for i in range(13))
BLOCKS, TOKENS_A_BLOCK = 4, 256


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of fine-tuning. Holding on to the base with `amount` costs 0.05 x amount nats on the task, divides
    forgetting by 1 + amount and slows its growth; longer training forgets more and, later, learns less."""

    method: str | None = None
    amount: float | None = None
    steps: int = 100

    @property
    def label(self) -> str:
        """As pliant writes it, after the task."""
        steps = f", {self.steps} steps" if self.steps != 100 else ""
        way = f", {self.method}" if self.method else ""
        return f"{steps}{way}{f' {self.amount:g}' if self.amount else ''}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the synthetic study holds."""

    name: str = "english"
    seeds: tuple[int, ...] = (0, 1, 2)
    budgets: tuple[int, ...] = BUDGETS
    gammas: tuple[float, ...] = GAMMAS
    rates: tuple[float, ...] = RATES
    tasks: tuple[str, ...] = ("python",)
    ways: tuple[Way, ...] = (Way(),)
    members: tuple[bool | None, ...] = (True,)
    trajectory: str = "wsd, weight decay 0.1"
    bytes_per_token: float | None = 1.0
    draws: int = 8
    first_checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell while it is being written."""

    labels: dict[str, Json]
    records: tuple[tuple[dict[str, Json], Status, tuple[Measurement, ...]], ...]


def write_study(folder: Path, plan: Plan) -> Table:
    """Write the folder and read it back through the real table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(f"study: {plan.name}\nnumerics: {{threads: 1, compile: false}}\n")
    planned = []
    generator = np.random.default_rng(7)
    for annealed in plan.members:
        for seed in plan.seeds:
            for place, tokens in enumerate(plan.budgets):
                for cell in _cells(plan, annealed, seed, place, tokens, generator):
                    planned.append(_write(Store(folder), cell))
    write_plan(folder, plan.name, planned)
    return read_table(folder)


def _write(store: Store, cell: Cell) -> PlannedCell:
    name = digest(cell.labels)
    evaluations = {}
    for labels, status, measurements in cell.records:
        evaluation = digest(labels, 8)
        record = Record(
            cell=cell.labels,
            evaluation=labels,
            weights="w",
            status=status,
            measurements=measurements,
            details={},
        )
        path = store.path(name, evaluation)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(canonical_json(record.to_json()) + "\n")
        evaluations[evaluation] = labels
    return PlannedCell(cell=name, labels=cell.labels, evaluations=evaluations)


def _cells(
    plan: Plan, annealed: bool | None, seed: int, place: int, tokens: int, generator: np.random.Generator
) -> list[Cell]:
    shared: dict[str, Json] = {
        "trajectory": plan.trajectory,
        "checkpoint": plan.first_checkpoint if plan.first_checkpoint and place == 0 else f"{tokens / 1e6:.3g}M",
        "tokens": tokens,
        "parameters": 5400,
        "tokens_per_parameter": tokens / 5400,
        "pretraining_seed": seed,
        "annealed": annealed,
        "pretraining_learning_rate": 0.0 if annealed else 0.01,
        "epochs": tokens / 1.6e7,
        "bytes_per_token": plan.bytes_per_token,
    }
    base = 1.6 + 0.9 * 0.66**place + (0.0 if annealed else 0.05) + generator.normal(0, 0.006)
    task = 2.4 - 0.1 * place + 0.028 * place**2 + generator.normal(0, 0.004)
    cells = [_base(plan, shared, base, place, generator)]
    for gamma in plan.gammas:
        for label, scale in _NOISE.items():
            cells.append(_noise(plan, shared, base, place, gamma, label, scale, generator))
    for name in plan.tasks:
        for way in plan.ways:
            for rate in plan.rates:
                cells.append(_fine_tune(shared, base, task, place, rate, name, way, generator))
    return cells


_NOISE = {
    "noise, init scaling": ("init", True, 1.0),
    "noise, init scaling, without embeddings": ("init", False, 0.5),
    "noise, relative scaling": ("relative", True, 0.4),
}
_PRETRAINING: dict[str, Json] = {"evaluation": "pretraining-loss", "split": "test"}


def _base(plan: Plan, shared: dict[str, Json], base: float, place: int, generator: np.random.Generator) -> Cell:
    labels: dict[str, Json] = {**shared, "modification": "none", "label": "none", "strength": 0.0, "seed": 0}
    records: list[tuple[dict[str, Json], Status, tuple[Measurement, ...]]] = [
        (_PRETRAINING, "ok", (_loss(base, "test", generator),))
    ]
    for task in plan.tasks:
        evaluation: dict[str, Json] = {"evaluation": "task-loss", "task": task}
        records.append((evaluation, "ok", (_loss(3.0 + 0.05 * place, "test", generator),)))
    sizes = tuple(
        Measurement(metric="rms", tensor=tensor, value=(1 + place) ** power) for tensor, power in _TENSORS.items()
    )
    records.append(({"evaluation": "weights"}, "ok", sizes))
    return Cell(labels=labels, records=tuple(records))


_TENSORS = {
    "model.embed_tokens.weight": -0.2,
    "model.layers.0.self_attn.q_proj.weight": 0.3,
    "model.layers.0.mlp.up_proj.weight": 0.2,
    "model.layers.0.input_layernorm.weight": 0.05,
    "lm_head.weight": 0.4,
}


def _noise(
    plan: Plan,
    shared: dict[str, Json],
    base: float,
    place: int,
    gamma: float,
    label: str,
    scale: tuple[str, bool, float],
    generator: np.random.Generator,
) -> Cell:
    scaling, embeddings, size = scale
    labels: dict[str, Json] = {
        **shared,
        "modification": "noise",
        "label": label,
        "scaling": scaling,
        "embeddings": embeddings,
        "strength": gamma,
        "seed": 0,
    }
    harm = size * 12 * gamma**2 * 1.9**place / 4
    measurements = tuple(
        _loss(base + harm * math.exp(generator.normal(0, 0.15)), "test", generator, draw, sign)
        for draw in range(plan.draws)
        for sign in (1, -1)
    )
    return Cell(labels=labels, records=((_PRETRAINING, "ok", measurements),))


def _fine_tune(
    shared: dict[str, Json],
    base: float,
    task: float,
    place: int,
    rate: float,
    name: str,
    way: Way,
    generator: np.random.Generator,
) -> Cell:
    labels: dict[str, Json] = {
        **shared,
        "modification": "fine-tune",
        "label": f"fine-tune {name}{way.label}",
        "task": name,
        "steps": way.steps,
        "method": way.method,
        "amount": way.amount,
        "task_epochs": way.steps / 120,
        "strength": rate,
        "seed": 0,
    }
    status: Status = "diverged" if rate > 0.05 and place == 5 else "ok"
    off = math.log(rate / (0.02 * 0.8**place))
    amount, length = way.amount or 0.0, way.steps / 100
    learnt = task + 0.08 * off**2 + 0.05 * amount + 0.02 * math.log(length) * (place - 2)
    forgot = base + 0.3 * (rate / 0.02) ** 0.7 * 1.25 ** (place / (1 + amount)) * length**0.3 / (1 + amount)
    moved = rate * 60 * 1.03**place * length**0.5 / (1 + amount)
    adapted = 3.0 - 0.3 * (3.0 - learnt)
    if status == "diverged":
        learnt = forgot = moved = adapted = math.nan
    tasks = (_loss(learnt, "validation", generator), _loss(learnt + 0.01, "test", generator))
    return Cell(
        labels=labels,
        records=(
            (_PRETRAINING, status, (_loss(forgot, "test", generator),)),
            ({"evaluation": "task-loss"}, status, tasks),
            (
                {"evaluation": "displacement"},
                status,
                (
                    Measurement(metric="distance", value=moved),
                    Measurement(metric="relative_distance", value=moved / 40),
                ),
            ),
            ({"evaluation": "adaptation"}, status, (Measurement(metric="adaptation_nats", value=adapted),)),
        ),
    )


def _loss(
    value: float,
    split: str,
    generator: np.random.Generator,
    draw: int | None = None,
    sign: int | None = None,
) -> Measurement:
    """A loss whose blocks scatter around `value`."""
    blocks = tuple((value * TOKENS_A_BLOCK + generator.normal(0, 0.2, BLOCKS)).tolist())
    count = (TOKENS_A_BLOCK,) * BLOCKS
    exact = math.fsum(blocks) / sum(count)
    return Measurement(metric="loss_nats", value=exact, split=split, draw=draw, sign=sign, blocks=blocks, count=count)
