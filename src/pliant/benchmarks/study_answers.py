"""What a study and the script of it found, held to one another."""

import math
from collections.abc import Iterator
from pathlib import Path

from pliant.benchmarks.study_script import Found
from pliant.execution.store import Store
from pliant.execution.table import read_plan, read_table
from pliant.statistics import Estimate, base_of, gather

SAME_LOSS = 1e-4
"""Nats: the same weights and tokens by two forward passes in fp32."""
SAME_TUNED = 0.05
"""Nats after fine-tuning in the same order: rounding grows with the steps, most at the highest rates."""
GUESSING = math.log(256)
"""Nats a byte without any model. Rates that drive a loss above it are chaotic: both say that the model is lost, and
how far is told within a share."""
LOST = 0.1
STANDARD_ERRORS = 5.0
"""Means over different draws agree within so many standard errors of their difference."""


def increases(folder: Path) -> Iterator[tuple[str, float, Estimate]]:
    """(tokens, gamma, the mean increase with its interval) of the noise in a study's folder."""
    series = gather(read_table(folder).readings())
    for key, modified in series.items():
        if key.modification == "noise" and key.evaluation == "pretraining-loss":
            base = base_of(key, series)
            assert base is not None, "a study measures its bases"
            curve = modified.sensitivity(base)
            yield from ((f"{budget:.0f}", key.strength, curve.at(budget)) for budget in curve.budgets)


def compare(folder: Path, found: Found) -> float:
    """Hold the script's numbers to the study's; the largest difference of a loss after fine-tuning, in nats."""
    for tokens, gamma, mine in increases(folder):
        taken = found.draws[f"{tokens} {gamma:g}"]
        mean = math.fsum(taken) / len(taken)
        error = math.sqrt(sum((draw - mean) ** 2 for draw in taken) / (len(taken) - 1) / len(taken))
        allowed = STANDARD_ERRORS * math.hypot(error, mine.standard_error) + SAME_LOSS
        assert abs(mean - mine.value) < allowed, f"noise {gamma:g} at {tokens}: {mean:.2e} against {mine.value:.2e}"
    largest = 0.0
    for name, loss in _losses(folder):
        apart = abs(loss - found.losses[name])
        if math.isnan(loss) and math.isnan(found.losses[name]):
            continue
        tuned = " none " not in name
        allowed = SAME_LOSS if not tuned else SAME_TUNED if loss < GUESSING else LOST * loss
        assert apart < allowed, f"{name}: {loss:.4f} against {found.losses[name]:.4f}"
        largest = max(largest, apart if tuned and loss < GUESSING else 0.0)
    return largest


def _losses(folder: Path) -> Iterator[tuple[str, float]]:
    """Each loss of bases and fine-tunes by the name that the script gives it."""
    for row in read_table(folder).rows:
        if row.get("metric") != "loss_nats" or row["modification"] not in ("none", "fine-tune"):
            continue
        how = "none" if row["modification"] == "none" else f"{row['task']} {row['strength']:g}"
        where = "held-out" if row["evaluation"] == "pretraining-loss" else f"{row['task']} {row['split']}"
        yield f"{row['tokens']} {how} {where}", row["value"]


def shares_of(folder: Path) -> dict[float | None, float]:
    """How much of the time of a study's cells went into noise of each strength; None: into all else."""
    store, shares = Store(folder), dict[float | None, float]()
    for cell in read_plan(folder)[1]:
        seconds, strength = store.read_run(cell.cell)["seconds"], cell.labels["strength"]
        assert isinstance(seconds, float), "written by the runner"
        assert isinstance(strength, float), "every cell has one"
        where = strength if cell.labels["modification"] == "noise" else None
        shares[where] = shares.get(where, 0.0) + seconds
    return {where: seconds / sum(shares.values()) for where, seconds in shares.items()}
