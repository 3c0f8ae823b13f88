"""Findings frozen before fresh seeds ran, and what those showed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy.special import stdtr, stdtrit

from pliant.execution.engine import UserError
from pliant.execution.table import PLAN_FILE, read_table
from pliant.execution.writing import write_atomically
from pliant.records.contrast import FrozenContrast, read_contrast
from pliant.records.identity import Json
from pliant.report.finding import Finding
from pliant.report.study import Study, budget_name, open_study, phrase
from pliant.report.unit import strength_words
from pliant.statistics import CONFIDENCE, Curve, Estimate, TunedRate, contrast_over_text, holm

FROZEN_FILE = "confirm.json"
FOLDER = "confirm"
Outcome = Literal["confirmed", "not confirmed", "contradicted", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What `confirm.json` holds: the contrasts, the fresh seeds that test them, and the margin they are tested at."""

    contrasts: tuple[FrozenContrast, ...]
    seeds: tuple[int, ...]
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A frozen contrast beside the same contrast on fresh seeds.

    `p` is one-sided, of "the difference is at most the margin"; `p_holm` is adjusted over all frozen contrasts of the
    study. "confirmed": `p_holm` below 0.05; "contradicted": the one-sided 95 % upper bound is at most the margin; "not
    confirmed": neither.
    """

    frozen: FrozenContrast
    fresh: Estimate | None
    outcome: Outcome
    p: float
    p_holm: float
    words: str


def suggest(findings: Sequence[Finding], margin: float) -> tuple[FrozenContrast, ...]:
    """The contrasts a study suggests: every primary curve whose last budget lies above an earlier one by the margin."""
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
        if f.primary and f.minimum.rise.value > margin
    )


def freeze(folder: Path, frozen: Frozen) -> Path:
    """Write what will be tested, and how, into the study's folder.

    Raises:
        UserError: something was frozen there before; it stays as it is.
    """
    path = folder / FROZEN_FILE
    if path.exists():
        raise UserError(f"{path} is there already: what was frozen is not changed afterwards")
    content: dict[str, Json] = {
        "seeds": list(frozen.seeds),
        "margin": frozen.margin,
        "contrasts": [c.to_json() for c in frozen.contrasts],
    }
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


def read_frozen(folder: Path) -> Frozen | None:
    """What was frozen for a study; None if `pliant confirm` has not been there.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / FROZEN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        contrasts = tuple(read_contrast(given) for given in found["contrasts"])
        return Frozen(contrasts=contrasts, seeds=tuple(found["seeds"]), margin=float(found["margin"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and confirm anew, with other seeds") from error


def confirmations(study: Study) -> tuple[Confirmation, ...]:
    """What the fresh seeds of `<folder>/confirm` say about each frozen contrast."""
    frozen = read_frozen(study.table.folder)
    if frozen is None:
        return ()
    place = study.table.folder / FOLDER
    fresh = open_study(read_table(place)) if (place / PLAN_FILE).is_file() else None
    found = [None if fresh is None else _estimate(fresh, one) for one in frozen.contrasts]
    p = [math.nan if estimate is None else _p(estimate, frozen.margin) for estimate in found]
    return tuple(
        _confirmation(study, one, estimate, raw, adjusted, frozen.margin)
        for one, estimate, raw, adjusted in zip(frozen.contrasts, found, p, holm(p), strict=True)
    )


def _confirmation(
    study: Study, one: FrozenContrast, fresh: Estimate | None, p: float, p_holm: float, margin: float
) -> Confirmation:
    outcome = _outcome(fresh, p_holm, margin)
    return Confirmation(
        frozen=one, fresh=fresh, outcome=outcome, p=p, p_holm=p_holm, words=_words(study, one, fresh, outcome, p_holm)
    )


def _estimate(fresh: Study, one: FrozenContrast) -> Estimate | None:
    curve = _curve(fresh, one)
    try:
        return None if curve is None else contrast_over_text(curve, budget=one.budget, against=one.against)
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


def _p(estimate: Estimate, margin: float) -> float:
    if not estimate.standard_error > 0:
        return math.nan
    return float(stdtr(estimate.degrees_of_freedom, (margin - estimate.value) / estimate.standard_error))


def _outcome(estimate: Estimate | None, p_holm: float, margin: float) -> Outcome:
    if estimate is None:
        return "not measured"
    if p_holm < 1 - CONFIDENCE:
        return "confirmed"
    upper = estimate.value + float(stdtrit(estimate.degrees_of_freedom, CONFIDENCE)) * estimate.standard_error
    return "contradicted" if upper <= margin else "not confirmed"


def _words(study: Study, one: FrozenContrast, estimate: Estimate | None, outcome: Outcome, p_holm: float) -> str:
    where = study.places.get((one.trajectory, one.members), "")
    strength = "tuned rate" if one.strength is None else strength_words(one.modification, one.strength)
    head = f"{phrase(one.label)}{f' ({where})' if where else ''}, {strength}, {one.quantity}"
    what = f"{budget_name(one.budget, {})} minus {budget_name(one.against, {})}"
    unit = study.unit.of(one.trajectory)
    seen = f"{unit.signed(one.seen)} on {len(one.seeds)} exploring seeds"
    if estimate is None:
        return f"{head}: {what}, {seen}; no fresh seeds yet"
    fresh = f"{unit.interval(estimate)} {unit.name} on {len(estimate.seeds)} fresh seeds"
    return f"{head}: {what}, {seen}; {fresh}, Holm's p {p_holm:.2g}: {outcome}"
