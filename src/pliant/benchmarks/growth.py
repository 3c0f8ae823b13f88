"""How cost grows with cells, held-out tokens and parameters, and what a cell costs beside its computation."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.checkpoints.architecture import Architecture
from pliant.checkpoints.resident import Resident
from pliant.evaluation.losses import loss_measurement
from pliant.execution.engine import Event, Task
from pliant.execution.local import SerialEngine
from pliant.execution.results import write_parquet
from pliant.execution.table import read_table, write_plan
from pliant.modifications.merge import open_parts
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.studies.group import GroupJob, release_model
from pliant.studies.materials import open_materials
from pliant.studies.modification_spec import ModificationSpec, NoiseSpec
from pliant.studies.plan import Plan
from pliant.studies.schedule import schedule
from pliant.studies.settling import planned, prepare
from pliant.studies.spec import HeldOutSpec, LadderSpec, StudySpec, TrajectorySpec
from pliant.studies.work import perform
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule
from pliant.training.target_losses import planned_forward

LINEAR = 1.15
"""Cost of ten times as much over ten times the cost: 1 is linear; n log n would be 1.25 from 1,000 to 10,000."""
OVERHEAD_MS = 2.0
CHECKPOINTS = 5
CREATED = 1_000
"""Files, to see what one costs."""
Done = TypeVar("Done")


def study(cells: int, *, width: int = 8, layers: int = 1, tokens: int = 16, context: int = 16) -> StudySpec:
    """A ladder of `CHECKPOINTS` that were hardly trained, and noise in as many blocks of one draw as make `cells`."""
    shape = Architecture(
        width=width, layers=layers, heads=max(1, width // 32), feed_forward=width * 8 // 3, context=context
    )
    recipe = Recipe(batch_windows=1, learning_rate=0.01, schedule=Schedule(kind="constant", warmup_steps=1))
    budgets = tuple(context * (number + 2) for number in range(CHECKPOINTS))
    noise = NoiseSpec(strengths=(0.01,), draws=1, antithetic=False, blocks=max(1, cells // CHECKPOINTS - 1))
    return StudySpec(
        study="growth",
        corpus="markov:7",
        held_out=HeldOutSpec(tokens=tokens, task_rows=1),
        trajectories=(
            TrajectorySpec(name="ladder", ladder=LadderSpec(architecture=shape, recipe=recipe, budgets=budgets)),
        ),
        modifications=(ModificationSpec(noise=noise),),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of a study by part, the bare computation apart, and its cells: of the processor; `waited` and
    `bare_waited` by the clock on the wall, which counts the disk."""

    cells: int
    parts: dict[str, float]
    bare: float
    waited: float
    bare_waited: float

    @property
    def seconds(self) -> float:
        """From planning to the table."""
        return sum(self.parts.values())

    @property
    def overhead_ms(self) -> float:
        """Of one cell: what the study took beyond its computation."""
        return 1e3 * (self.seconds - self.bare) / self.cells

    @property
    def overhead_wall_ms(self) -> float:
        return 1e3 * (self.waited - self.bare_waited) / self.cells


def cost(spec: StudySpec, home: Path) -> Cost:
    """Run `spec` in a new folder below `home`, in this process and as `pliant run` does, from planning to the
    table, its checkpoints trained before; then its computation alone: each checkpoint opened, the noise put in, the
    loss taken, the base put back."""
    folder = Path(tempfile.mkdtemp(dir=home))
    parts: dict[str, float] = {}
    waited = 0.0

    def part(name: str, work: Callable[[], Done]) -> Done:
        nonlocal waited
        begun, at = time.process_time(), time.perf_counter()
        done = work()
        parts[name] = parts.get(name, 0.0) + time.process_time() - begun
        waited += time.perf_counter() - at
        return done

    plan = part("plan", lambda: planned(spec, folder))
    part("plan", lambda: _write(plan))
    tasks = part("schedule", lambda: schedule([plan])).tasks
    training = [task for task in tasks if not isinstance(task.payload, GroupJob)]
    groups = [dataclasses.replace(task, needs=()) for task in tasks if isinstance(task.payload, GroupJob)]
    _run(training)
    part("run", lambda: _run(groups))
    table = part("table", lambda: read_table(folder))
    assert not table.missing, "every record was written"
    part("parquet", lambda: write_parquet(table, folder / "results.parquet"))
    begun, at = time.process_time(), time.perf_counter()
    _bare(plan)
    found = Cost(
        cells=len(plan.cells()),
        parts=parts,
        bare=time.process_time() - begun,
        waited=waited,
        bare_waited=time.perf_counter() - at,
    )
    release_model()
    return found


def _write(plan: Plan) -> None:
    prepare(plan)
    write_plan(plan.folder, plan.spec.study, plan.cells())


def _run(tasks: list[Task]) -> None:
    failures = SerialEngine().run(tasks, perform, _unheard)
    assert not failures, failures


def _unheard(event: Event) -> None:
    """Nobody watches a benchmark."""


def _bare(plan: Plan) -> None:
    resident = Resident()
    for group in plan.groups:
        opened = open_parts(group.parts, allow_pickle=False, trust_remote_code=False, into=resident)
        held_out = open_materials(group.materials).held_out
        base, forward = keep_base(opened.model, opened.stored), planned_forward(opened.model, plan.spec.numerics)
        for cell in group.cells:
            if not isinstance(cell.modification, Noise):
                continue
            for one in noisy_variants(cell.modification, opened.model, opened.about, base, cell.seed):
                loss_measurement(
                    opened.model,
                    held_out,
                    forward=forward,
                    name="test",
                    batch_tokens=plan.spec.numerics.evaluation_batch_tokens,
                    draw=one.draw,
                    sign=one.sign,
                )
            restore(opened.model, base)


def measure(scale: Scale, tell: Tell) -> Row:
    """Cost at one size and at ten times it, and the overhead of a cell.

    No folder is deleted before the end: for seconds after, ext4 looks long for a place for each new file.
    """
    with tempfile.TemporaryDirectory(prefix="pliant-growth-") as home:
        return _measure(scale, tell, Path(home))


def _measure(scale: Scale, tell: Tell, home: Path) -> Row:
    smoke = scale == "smoke"
    rounds = 1 if smoke else 3
    cells = (10, 20) if smoke else (10, 100, 1_000, 10_000)
    few = 20 if smoke else 100
    tokens = (32, 320) if smoke else (32_768, 327_680)
    widths = (8, 16) if smoke else (256, 512)
    cost(study(cells[0]), home)  # what is imported and opened once
    by_cells: dict[int, list[Cost]] = {count: [] for count in cells}
    for _ in range(rounds):
        for count in cells:
            tell(f"{count:,} cells")
            by_cells[count].append(cost(study(count), home))
    by_tokens = _each(
        {size: study(few, width=8, tokens=size) for size in tokens}, rounds, tell, "held-out tokens", home
    )
    text = 64 if smoke else 2_048
    shaped = {size: study(10, width=size, layers=4, tokens=text, context=16 if smoke else 128) for size in widths}
    by_width = _each(shaped, rounds, tell, "wide", home)
    largest = by_cells[cells[-1]]
    return Row(
        work="growth",
        figures=(
            _ratio("cells", list(cells[-2:]), [[c.seconds for c in by_cells[count]] for count in cells[-2:]]),
            _ratio("held-out tokens", list(tokens), [[c.seconds for c in by_tokens[size]] for size in tokens]),
            _ratio(
                "parameters",
                [_parameters(shaped[size]) for size in widths],
                [[c.seconds for c in by_width[size]] for size in widths],
            ),
            _beside(f"overhead a cell, {cells[-1]:,} cells, processor time", [one.overhead_ms for one in largest]),
            _beside(f"overhead a cell, {cells[-1]:,} cells, wall clock", [one.overhead_wall_ms for one in largest]),
        ),
        measured={f"{count} cells": [one.seconds for one in found] for count, found in by_cells.items()}
        | {f"{count} cells, computation alone": [one.bare for one in found] for count, found in by_cells.items()}
        | {f"{size} tokens": [one.seconds for one in found] for size, found in by_tokens.items()}
        | {f"width {size}": [one.seconds for one in found] for size, found in by_width.items()},
        notes=(
            _by_part(largest[-1]),
            *(_overhead(count, found) for count, found in by_cells.items()),
            f"a new file takes {_creation_us(home):.0f} us of the processor where this was measured; a cell has three, "
            "its folder, a record and run.json",
        ),
    )


def _creation_us(home: Path) -> float:
    """Processor time of creating an empty file: 10 as a rule, hundreds on a disk where many were deleted just now."""
    folder = Path(tempfile.mkdtemp(dir=home))
    begun = time.process_time()
    for number in range(CREATED):
        (folder / str(number)).touch()
    return 1e6 * (time.process_time() - begun) / CREATED


def _each(specs: dict[int, StudySpec], rounds: int, tell: Tell, what: str, home: Path) -> dict[int, list[Cost]]:
    found: dict[int, list[Cost]] = {size: [] for size in specs}
    for _ in range(rounds):
        for size, spec in specs.items():
            tell(f"{size:,} {what}")
            found[size].append(cost(spec, home))
    return found


def _parameters(spec: StudySpec) -> int:
    ladder = spec.trajectories[0].ladder
    assert ladder is not None, "the study of this benchmark"
    return ladder.architecture.parameters(64)


def _ratio(what: str, sizes: list[int], seconds: list[list[float]]) -> Figure:
    """(cost of the larger / cost of the smaller) / (larger / smaller), round by round."""
    growth = sizes[1] / sizes[0]
    each = [larger / smaller / growth for smaller, larger in zip(*seconds, strict=True)]
    return Figure(
        what=f"{what}, {sizes[0]:,} to {sizes[1]:,}",
        peer="linear",
        value=median(each),
        low=min(each),
        high=max(each),
        target=LINEAR,
        at_most=True,
        note="below 1: a fixed cost is shared by more",
    )


def _beside(what: str, milliseconds: list[float]) -> Figure:
    return Figure(
        what=what,
        peer="the computation alone",
        value=median(milliseconds),
        low=min(milliseconds),
        high=max(milliseconds),
        target=OVERHEAD_MS,
        unit="ms",
        at_most=True,
    )


def _by_part(one: Cost) -> str:
    parts = ", ".join(f"{name} {1e3 * seconds / one.cells:.2f}" for name, seconds in one.parts.items())
    return (
        f"ms a cell at {one.cells:,} cells: {parts}; of run, the computation alone is {1e3 * one.bare / one.cells:.2f}"
    )


def _overhead(count: int, found: list[Cost]) -> str:
    return f"overhead at {count:,} cells: {median(one.overhead_ms for one in found):.2f} ms a cell"
