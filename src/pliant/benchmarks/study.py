"""A whole study: `pliant run` against the script of a loop, deep copies and Trainer, both to the same intervals.

Each is a process of its own, start-up included, on checkpoints that pliant trained before. The study goes first; the
half-widths of its intervals are what the script has to reach.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from pliant.api import study as open_study
from pliant.benchmarks import study_script
from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.study_answers import compare, increases, shares_of
from pliant.benchmarks.study_script import Found, Job
from pliant.benchmarks.turns import ratio
from pliant.execution.engine import Event
from pliant.execution.local import SerialEngine
from pliant.studies.runner import run_studies
from pliant.studies.settling import planned
from pliant.studies.spec import StudySpec
from pliant.studies.study_file import parse_study

TARGET = 10.0
RATE = 1e-2
"""Of pre-training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """`budgets` in steps of 32 windows; `tasks` with the rows of a batch; `noise` is how the study measures it; `most`
    draws of a strength are really made by the script, the others, of the same spread, are counted. Without
    `own_processes` both run in this one, which saves the imports of a smoke run."""

    corpus: str
    preset: str
    budgets: tuple[int, ...]
    gammas: tuple[float, ...]
    noise: dict[str, Any]
    tasks: dict[str, int]
    rates: tuple[float, ...]
    steps: int
    held_out_tokens: int
    task_rows: int
    rounds: int
    most: int
    own_processes: bool


SIZES = {
    "whole": Size(
        corpus="english",
        preset="width-32",
        budgets=(100, 130, 168, 218, 283, 367, 476, 617),
        gammas=(0.005, 0.01, 0.02, 0.05, 0.1),
        noise={"subsets": 8, "draws": 16, "precision": 0.05},
        tasks={"python": 4, "arithmetic": 8},
        rates=tuple(float(f"{1e-3 * 2 ** (k / 2):.3g}") for k in range(9)),
        steps=100,
        held_out_tokens=8192,
        task_rows=192,
        rounds=2,
        most=32,
        own_processes=True,
    ),
    "smoke": Size(
        corpus="markov:3",
        preset="width-8-markov",
        budgets=(4, 8),
        gammas=(0.1,),
        noise={"subsets": 4, "draws": 16, "precision": 0.5},
        tasks={"skip": 4},
        rates=(1e-3, 2e-3),
        steps=3,
        held_out_tokens=2048,
        task_rows=16,
        rounds=1,
        most=24,
        own_processes=False,
    ),
}
"""The strengths of the first row of the table; tasks, batches and the first budget of the demo: a model that is hardly
trained has increases near 0, to a share of which single draws never come."""


def measure(scale: Scale, tell: Tell) -> Row:
    """CPU seconds of the script over those of the study."""
    size = SIZES[scale]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tell(f"training {len(size.budgets)} checkpoints for both (not measured)")
        spec = study_of(size, make_checkpoints(size, folder / "ladder"))
        (folder / "study.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        seconds, script = [], None
        for number in range(size.rounds):
            tell(f"pliant run, round {number + 1} of {size.rounds}")
            out = folder / f"study-{number}"
            seconds.append(_run_study(size, folder / "study.yaml", out))
            if script is None:
                job = _job(size, spec, out)
                tell(f"the script: {len(size.gammas)} strengths, {len(size.rates)} rates on {len(size.tasks)} tasks")
                script = _run_script(size, job, folder)
        assert script is not None, "one round at least"
        found, started = script
        shares = shares_of(folder / "study-0")
        apart = compare(folder / "study-0", found)
    return _row(size, started + sum(found.projected_seconds.values()), seconds, found, shares, apart)


def _row(
    size: Size, peer: float, seconds: list[float], found: Found, shares: dict[float | None, float], apart: float
) -> Row:
    times = ratio([peer] * len(seconds), seconds)
    ours, projected = median(seconds), sum(found.projected_seconds.values())
    noise = sum(found.noise_seconds.values()) + projected
    mine = ours * sum(shares[gamma] for gamma in size.gammas)
    small = size.gammas[: len(size.gammas) // 2]
    theirs_small = sum(found.noise_seconds[f"{g:g}"] + found.projected_seconds[f"{g:g}"] for g in small)
    without = (peer - theirs_small) / (ours * (1 - sum(shares[gamma] for gamma in small)))
    what = f"{len(size.budgets)} checkpoints x {len(size.gammas)} strengths, {len(size.rates)} rates x "
    figure = Figure(
        what=f"{what}{len(size.tasks)} task(s), {size.preset}",
        peer="deep copies and Trainer",
        value=times.value,
        low=times.low,
        high=times.high,
        target=TARGET,
    )
    strengths = len(size.budgets) * len(size.gammas)
    notes = [
        f"the script: noise {noise:.0f} s, fine-tuning {found.sweep_seconds:.0f} s of {peer:.0f} s; the study: noise "
        f"{mine:.0f} s, the rest {ours - mine:.0f} s, start-up in it (CPU seconds)",
        f"{found.projected} of {strengths} intervals of the script would take more than {size.most} draws: their "
        f"number is from the spread of these, their time ({projected:.0f} s) from the seconds of each",
        f"largest difference of a loss after fine-tuning: {apart:.0e} nats",
    ]
    if small:
        notes.append(f"without the strengths {', '.join(f'{gamma:g}' for gamma in small)}: about {without:.1f}x")
    measured = {
        "pliant run": seconds,
        "the script": [peer],
        "the script, noise": [noise],
        "the script, fine-tuning": [found.sweep_seconds],
        "the script, counted and not run": [projected],
    }
    return Row(work="whole study", figures=(figure,), measured=measured, notes=tuple(notes))


def make_checkpoints(size: Size, folder: Path) -> dict[str, Path]:
    """A ladder of pliant's: the folder of each checkpoint by its tokens."""
    recipe = {"learning_rate": RATE, "schedule": {"kind": "wsd", "warmup_steps": 4, "decay_fraction": 0.25}}
    ladder = {"architecture": size.preset, "recipe": recipe, "budgets": _tokens(size)}
    spec = _spec({"study": "ladder", "corpus": size.corpus, "trajectories": [{"name": "main", "ladder": ladder}]})
    _, failures = run_studies([(spec, folder)], engine=SerialEngine(), observe=lambda _: _unheard)
    assert not failures, f"the checkpoints were not made: {failures[0].error}"
    groups = planned(spec, folder).groups
    return {str(group.cells[0].labels["tokens"]): group.place for group in groups}


def study_of(size: Size, checkpoints: dict[str, Path]) -> dict[str, Any]:
    """The study as a user writes it."""
    tuning = {"learning_rates": list(size.rates), "steps": size.steps}
    return {
        "study": "whole",
        "corpus": size.corpus,
        "held_out": {"tokens": size.held_out_tokens, "task_rows": size.task_rows},
        "trajectories": [
            {"name": "main", "checkpoints": [{"path": str(folder)} for folder in checkpoints.values()]},
        ],
        "modifications": [
            {"noise": {"strengths": list(size.gammas), **size.noise}},
            *({"fine_tune": {"task": task, "batch": batch, **tuning}} for task, batch in size.tasks.items()),
        ],
    }


def _tokens(size: Size) -> list[int]:
    from pliant.checkpoints.architecture import PRESETS

    return [steps * 32 * PRESETS[size.preset].context for steps in size.budgets]


def _job(size: Size, spec: dict[str, Any], folder: Path) -> Job:
    groups = planned(_spec(spec), folder).groups
    half_widths: dict[str, dict[str, float]] = {}
    for tokens, gamma, estimate in increases(folder):
        half_widths.setdefault(tokens, {})[f"{gamma:g}"] = (estimate.high - estimate.low) / 2
    return Job(
        checkpoints={str(group.cells[0].labels["tokens"]): str(group.place) for group in groups},
        materials=asdict(groups[0].materials),
        half_widths=half_widths,
        most=size.most,
        batches=size.tasks,
        rates=list(size.rates),
        steps=size.steps,
        evaluation_rows=2048 // groups[0].materials.context,
    )


def _run_study(size: Size, file: Path, out: Path) -> float:
    """CPU seconds of `pliant run`, one worker in its own process."""
    if size.own_processes:
        return _cpu_seconds("pliant", "run", str(file), "--out", str(out), "--workers", "0", "--log", "none")
    begun = time.process_time()
    failures = open_study(file, out=out).run(workers=0).failures
    assert not failures, f"the study was not measured: {failures[0].error}"
    return time.process_time() - begun


def _run_script(size: Size, job: Job, folder: Path) -> tuple[Found, float]:
    """What the script finds, and its CPU seconds."""
    file = folder / "job.json"
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    begun = time.process_time()
    if size.own_processes:
        seconds = _cpu_seconds("pliant.benchmarks.study_script", str(file))
    else:
        study_script.main(file)
        seconds = time.process_time() - begun
    return study_script.Found(**json.loads((folder / "found.json").read_text("utf-8"))), seconds


def _cpu_seconds(*arguments: str) -> float:
    """Of `python -m arguments`, user and system, with what it starts itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _spec(content: dict[str, Any]) -> StudySpec:
    return parse_study(yaml.safe_dump(content), "the benchmark's study")


def _unheard(event: Event) -> None:
    """Nobody listens."""
