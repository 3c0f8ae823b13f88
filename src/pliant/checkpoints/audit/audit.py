"""Is what is there what it says it is? Findings about the checkpoints of one trajectory."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pliant.checkpoints.audit.configs import config_findings, tokenizer_findings
from pliant.checkpoints.audit.duplicates import Place, duplicates
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.inspection import Inspection
from pliant.checkpoints.audit.loss_curve import loss_findings
from pliant.checkpoints.audit.norm_curve import norm_findings
from pliant.checkpoints.audit.order import order_findings
from pliant.checkpoints.audit.reading import AtHand, Measure, Progress, Reading, on_disk, read_checkpoints
from pliant.checkpoints.trajectory import Member
from pliant.records.identity import Json

Depth = Literal["metadata", "weights", "loss"]
REFUSED = frozenset({"duplicate", "order", "cut-short", "missing-shard"})
"""Checks that stop a study: the numbers would be another checkpoint's, or there would be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was found of one checkpoint; None where it was not looked at or is not known."""

    name: str
    tokens: int | None = None
    step: int | None = None
    seed: int | None = None
    bytes: int | None = None
    format: str | None = None
    dtype: str | None = None
    fingerprint: str | None = None
    norm: float | None = None
    loss_nats: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The findings of an audit and a row a checkpoint, in the order of the trajectory."""

    depth: Depth
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def refused(self) -> bool:
        """Whether a finding is an error: a study on these checkpoints would not mean what it says."""
        return any(finding.level == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Json]:
        """Depth, verdict, rows and findings as JSON values."""
        return {
            "depth": self.depth,
            "refused": self.refused,
            "checkpoints": [_json(row) for row in self.rows],
            "findings": [{**asdict(one), "checkpoints": list(one.checkpoints)} for one in self.findings],
        }


def _json(row: Row) -> dict[str, Json]:
    """The row as JSON values, which know no NaN and no infinity."""
    values = asdict(row)
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def _silent(name: str, fetched: float) -> None:
    """No progress is shown."""


def suspects(members: Sequence[Member]) -> tuple[Finding, ...]:
    """Why a study must not run on `members`: equal weights, weights out of order, weights that are not whole.

    Each weight file is read once, no model is built. `members` are those of one trajectory.
    """
    found = audit_files(members).findings
    return tuple(finding for finding in found if finding.level == "error" and finding.check in REFUSED)


def audit_weights(
    members: Sequence[Member],
    progress: Progress = _silent,
    *,
    at_hand: AtHand = on_disk,
    measure: Measure | None = None,
) -> Audit:
    """Files, fingerprints, order, configs, tokenizers and norms of checkpoints, and with `measure` their losses.

    One checkpoint at a time is at hand. Those that `at_hand` cannot give are findings and have no row.
    """
    readings = read_checkpoints(members, progress=progress, at_hand=at_hand, measure=measure)
    seen = [one.inspection for one in readings if one.inspection is not None]
    norms = {one.name: one.norms for one in readings if one.norms is not None}
    losses = {one.name: one.loss for one in readings if one.loss is not None}
    failures = _together(one.failure for one in readings if one.failure is not None)
    findings = (*cheap_findings(seen), *norm_findings(seen, norms), *failures, *loss_findings(members, losses))
    return Audit(depth="loss" if measure else "weights", rows=_rows(readings), findings=findings)


def audit_files(members: Sequence[Member], progress: Progress = _silent) -> Audit:
    """The cheap part of `audit_weights`, without norms: what every study looks at before it runs."""
    readings = read_checkpoints(members, progress=progress, norms=False)
    seen = [one.inspection for one in readings if one.inspection is not None]
    return Audit(depth="metadata", rows=_rows(readings), findings=cheap_findings(seen))


def cheap_findings(inspections: Sequence[Inspection]) -> tuple[Finding, ...]:
    """Defects, duplicates, order, configs and tokenizers; the first two keep a checkpoint out of the order."""
    broken = tuple(defect for one in inspections for defect in one.defects)
    pickled = tuple(one.name for one in inspections if one.format == "pickled")
    equal = duplicates([Place(name=one.name, at=one.at, fingerprint=one.fingerprint) for one in inspections])
    twice = {name for finding in equal for name in finding.checkpoints}
    return (
        *broken,
        *pickled_findings(pickled),
        *equal,
        *order_findings([one for one in inspections if one.name not in twice]),
        *config_findings(inspections),
        *tokenizer_findings(inspections),
    )


def pickled_findings(names: Sequence[str]) -> tuple[Finding, ...]:
    """Pickled weights can run code when opened, and their tensors are not looked into."""
    if not names:
        return ()
    message = "has pickled weights only, which can run code when opened; their tensors were not looked into"
    return (Finding(check="format", level="warning", checkpoints=tuple(names), message=message),)


def _together(failures: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for all checkpoints that failed alike: a gated repository is said once."""
    alike: dict[Finding, tuple[str, ...]] = {}
    for one in failures:
        key = replace(one, checkpoints=())
        alike[key] = (*alike.get(key, ()), *one.checkpoints)
    return tuple(replace(key, checkpoints=names) for key, names in alike.items())


def _rows(readings: Sequence[Reading]) -> tuple[Row, ...]:
    return tuple(
        Row(
            name=seen.name,
            tokens=seen.about.tokens,
            step=seen.about.step,
            seed=seen.about.seed,
            bytes=seen.bytes,
            format=seen.format,
            dtype=seen.dtype,
            fingerprint=seen.fingerprint,
            norm=None if one.norms is None else one.norms.total,
            loss_nats=None if one.loss is None else one.loss.mean,
        )
        for one in readings
        if (seen := one.inspection) is not None
    )
