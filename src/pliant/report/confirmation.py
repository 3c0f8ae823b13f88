"""Findings frozen before fresh seeds ran, and what those showed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy.special import stdtr

from pliant.execution.engine import UserError
from pliant.execution.store import write_atomically
from pliant.execution.table import PLAN_FILE, read_table
from pliant.records.contrast import FrozenContrast, read_contrast
from pliant.report.finding import Finding
from pliant.report.study import Study, budget_name, open_study
from pliant.report.unit import symbol
from pliant.statistics import Curve, Estimate, TunedRate, contrast, holm

FROZEN_FILE = "confirm.json"
FOLDER = "confirm"
Outcome = Literal["confirmed", "not confirmed", "contradicted", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A frozen contrast beside the same contrast on fresh seeds.

    "confirmed": the fresh 95 % interval lies above 0; "contradicted": below; "not confirmed": neither. `p` is
    one-sided, `p_holm` adjusted over all frozen contrasts of the study.
    """

    frozen: FrozenContrast
    fresh: Estimate | None
    outcome: Outcome
    p: float
    p_holm: float
    words: str


def suggest(findings: Sequence[Finding]) -> tuple[FrozenContrast, ...]:
    """The contrasts a study suggests: every primary curve that is higher at its last budget than at an earlier one."""
    return tuple(
        FrozenContrast(
            trajectory=f.trajectory,
            members=f.members,
            modification=f.modification,
            label=f.label,
            strength=f.strength,
            rate=f.rate,
            quantity=f.quantity,
            budget=f.minimum.last,
            against=f.minimum.against,
            seen=f.minimum.rise.value,
            low=f.minimum.rise.low if f.minimum.rise.has_interval else None,
            high=f.minimum.rise.high if f.minimum.rise.has_interval else None,
            seeds=f.minimum.rise.seeds,
        )
        for f in findings
        if f.primary and f.minimum.rise.value > 0
    )


def freeze(folder: Path, contrasts: Sequence[FrozenContrast]) -> Path:
    """Write the contrasts into the study's folder.

    Raises:
        UserError: contrasts were frozen there before; they stay as they are.
    """
    path = folder / FROZEN_FILE
    if path.exists():
        raise UserError(f"{path} is there already: frozen contrasts are not changed afterwards")
    write_atomically(path, json.dumps({"contrasts": [c.to_json() for c in contrasts]}, indent=1) + "\n")
    return path


def read_frozen(folder: Path) -> tuple[FrozenContrast, ...]:
    """The frozen contrasts of a study; none if `pliant confirm` has not been there.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / FROZEN_FILE
    if not path.is_file():
        return ()
    try:
        return tuple(read_contrast(given) for given in json.loads(path.read_text(encoding="utf-8"))["contrasts"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and confirm anew, with other seeds") from error


def confirmations(study: Study) -> tuple[Confirmation, ...]:
    """What the fresh seeds of `<folder>/confirm` say about each frozen contrast."""
    frozen = read_frozen(study.table.folder)
    place = study.table.folder / FOLDER
    fresh = open_study(read_table(place)) if frozen and (place / PLAN_FILE).is_file() else None
    found = [None if fresh is None else _estimate(fresh, one) for one in frozen]
    p = [math.nan if estimate is None else _p(estimate) for estimate in found]
    return tuple(
        Confirmation(
            frozen=one,
            fresh=estimate,
            outcome=_outcome(estimate),
            p=raw,
            p_holm=adjusted,
            words=_words(study, one, estimate),
        )
        for one, estimate, raw, adjusted in zip(frozen, found, p, holm(p), strict=True)
    )


def _estimate(fresh: Study, one: FrozenContrast) -> Estimate | None:
    curve = _curve(fresh, one)
    if curve is None or one.budget not in curve.budgets or one.against not in curve.budgets:
        return None
    try:
        return contrast(curve, budget=one.budget, against=one.against)
    except ValueError:  # no seed has both budgets yet
        return None


def _curve(study: Study, one: FrozenContrast) -> Curve | None:
    if one.strength is None:
        of = _TUNED[one.quantity]
        sweeps = (s for s in study.sweeps if (s.trajectory, s.members, s.label) == one.curve[:3])
        return next((sweep.curve(of) for sweep in sweeps), None)
    series = study.matching(evaluation="pretraining-loss", metric="loss_nats", modification=one.modification)
    for found in series:
        key = found.key
        if (key.trajectory, key.members, key.label, key.strength) == one.curve[:4]:
            return found.curve()
    return None


def _task_loss(tuned: TunedRate) -> float:
    return tuned.task_loss


def _pretraining_loss(tuned: TunedRate) -> float:
    return tuned.pretraining_loss


_TUNED = {"task loss": _task_loss, "pre-training loss": _pretraining_loss}


def _p(estimate: Estimate) -> float:
    if not estimate.standard_error > 0:
        return math.nan
    return float(stdtr(estimate.n - 1, -estimate.value / estimate.standard_error))


def _outcome(estimate: Estimate | None) -> Outcome:
    if estimate is None or not estimate.has_interval:
        return "not measured"
    if estimate.low > 0:
        return "confirmed"
    return "contradicted" if estimate.high < 0 else "not confirmed"


def _words(study: Study, one: FrozenContrast, estimate: Estimate | None) -> str:
    names: dict[float, str] = {}
    where = study.places.get((one.trajectory, one.members), "")
    strength = "tuned rate" if one.strength is None else f"{symbol(one.modification)} {one.strength:g}"
    head = f"{one.label}{f' ({where})' if where else ''}, {strength}, {one.quantity}"
    what = f"{budget_name(one.budget, names)} minus {budget_name(one.against, names)}"
    seen = f"{study.unit.signed(one.seen)} on {len(one.seeds)} exploring seeds"
    if estimate is None:
        return f"{head}: {what}, {seen}; no fresh seeds yet"
    fresh = f"{study.unit.interval(estimate)} {study.unit.name} on {len(estimate.seeds)} fresh seeds"
    return f"{head}: {what}, {seen}; {fresh}: {_outcome(estimate)}"
