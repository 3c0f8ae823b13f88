"""Is what is there what it says it is? Findings about the checkpoints of one trajectory."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pliant.checkpoints.audit.configs import config_findings, tokenizer_findings
from pliant.checkpoints.audit.duplicates import Place, duplicates
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.inspection import Inspection, inspect
from pliant.checkpoints.audit.norm_curve import Norms, norm_findings, read_norms
from pliant.checkpoints.audit.order import order_findings
from pliant.checkpoints.trajectory import Member
from pliant.records.identity import Json

Depth = Literal["metadata", "weights", "loss"]
Progress = Callable[[str], None]
"""Called with a checkpoint's name before each of its files is read."""
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


def suspects(members: Sequence[Member], progress: Progress = lambda name: None) -> tuple[Finding, ...]:
    """Why a study must not run on `members`: equal weights, weights out of order, weights that are not whole.

    Each weight file is read once, no model is built. `members` are those of one trajectory.
    """
    found = cheap_findings(_inspected(members, progress))
    return tuple(finding for finding in found if finding.level == "error" and finding.check in REFUSED)


def audit_weights(members: Sequence[Member], progress: Progress = lambda name: None) -> Audit:
    """The audit of checkpoints on disk that builds no model: files, fingerprints, order, configs, tokenizers, norms."""
    inspections = _inspected(members, progress)
    norms: dict[str, Norms] = {}
    for member, inspection in zip(members, inspections, strict=True):
        progress(member.name)
        if inspection.tensors:
            norms[member.name] = read_norms(inspection.tensors)
    findings = (*cheap_findings(inspections), *norm_findings(inspections, norms))
    return Audit(depth="weights", rows=_rows(inspections, norms), findings=findings)


def audit_files(members: Sequence[Member], progress: Progress = lambda name: None) -> Audit:
    """The cheap part of `audit_weights`, without norms: what every study looks at before it runs."""
    inspections = _inspected(members, progress)
    return Audit(depth="metadata", rows=_rows(inspections, {}), findings=cheap_findings(inspections))


def cheap_findings(inspections: Sequence[Inspection]) -> tuple[Finding, ...]:
    """Defects, duplicates, order, configs and tokenizers; the first two keep a checkpoint out of the order."""
    broken = tuple(one.defect for one in inspections if one.defect is not None)
    pickled = tuple(one.name for one in inspections if one.format == "pickled")
    places = [Place(name=one.name, at=one.at) for one in inspections]
    equal = duplicates(places, {one.name: one.fingerprint for one in inspections if one.fingerprint})
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


def _inspected(members: Sequence[Member], progress: Progress) -> list[Inspection]:
    inspections = []
    for member in members:
        progress(member.name)
        inspections.append(inspect(member))
    return inspections


def _rows(inspections: Sequence[Inspection], norms: Mapping[str, Norms]) -> tuple[Row, ...]:
    return tuple(
        Row(
            name=one.name,
            tokens=one.about.tokens,
            step=one.about.step,
            seed=one.about.seed,
            bytes=one.bytes,
            format=one.format,
            dtype=one.dtype,
            fingerprint=one.fingerprint,
            norm=norms[one.name].total if one.name in norms else None,
        )
        for one in inspections
    )
