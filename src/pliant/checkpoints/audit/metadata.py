"""The audit of a Hub trajectory from file metadata alone: nothing is downloaded."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pliant.checkpoints.about import About
from pliant.checkpoints.audit.audit import Audit, Row, pickled_findings
from pliant.checkpoints.audit.duplicates import Place, duplicates
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.hub.revision import HubRevision

OTHER_SIZE = 0.01
"""Weight files of one model and dtype differ by their headers only, far less than 1 %."""
REGULAR = 0.6
"""Steps are regular if at least this share of their differences is the same."""
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.(?:safetensors|bin)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A checkpoint on the Hub: its name, what the name says of it, and the metadata of its files."""

    name: str
    about: About
    revision: HubRevision

    @property
    def at(self) -> int | None:
        """Where it says it lies: its tokens, else its step."""
        return self.about.tokens if self.about.tokens is not None else self.about.step


def audit_metadata(members: Sequence[tuple[str, About, HubRevision]]) -> Audit:
    """Rows and findings from names, sizes and content hashes of files; O(revisions), no network."""
    published = [Published(name=name, about=about, revision=revision) for name, about, revision in members]
    rows = tuple(_row(one) for one in published)
    with_weights = [one for one in published if one.revision.weights]
    places = [
        Place(name=row.name, at=one.at, fingerprint=row.fingerprint) for one, row in zip(published, rows, strict=True)
    ]
    findings = (
        *_empty(published),
        *(finding for one in with_weights for finding in _shards(one)),
        *duplicates(places),
        *_tokens_fall(published),
        *_sizes(with_weights),
        *pickled_findings([one.name for one in with_weights if not one.revision.safetensors]),
        *_blobs(published),
        *_gaps(published),
    )
    return Audit(depth="metadata", rows=rows, findings=findings)


def combined(listed: Audit, read: Audit) -> Audit:
    """What metadata say of revisions with what reading some of them found: every finding once, as said best.

    A file read whole says more of tokenizer and config than the hash of it; of sets of equal weights the larger stays.
    """
    rows = {row.name: row for row in read.rows}
    kept = [one for one in listed.findings if not _said_better(one, read)]
    equal = [set(one.checkpoints) for one in kept if one.check == "duplicate"]
    added = [
        one for one in read.findings if one.check != "duplicate" or not any(set(one.checkpoints) < s for s in equal)
    ]
    return Audit(
        depth=read.depth,
        rows=tuple(rows.get(row.name, row) for row in listed.rows),
        findings=(*kept, *added),
    )


def _said_better(one: Finding, read: Audit) -> bool:
    names = set(one.checkpoints)
    if one.check in ("tokenizer", "config"):
        return names <= {row.name for row in read.rows}
    return any(other.check == one.check and names <= set(other.checkpoints) for other in read.findings)


def _row(one: Published) -> Row:
    kind = "safetensors" if one.revision.safetensors else "pickled" if one.revision.pickled else None
    return Row(
        name=one.name,
        tokens=one.about.tokens,
        step=one.about.step,
        seed=one.about.seed,
        bytes=one.revision.weight_bytes,
        format=kind,
        fingerprint=one.revision.fingerprint if kind else None,
    )


def _empty(published: Sequence[Published]) -> Iterator[Finding]:
    names = tuple(one.name for one in published if not one.revision.weights)
    if names:
        yield Finding(check="missing-shard", level="error", checkpoints=names, message="has no weight files")


def _shards(one: Published) -> Iterator[Finding]:
    """Files named `-00002-of-00005` promise the others."""
    numbers: dict[int, set[int]] = {}
    for file in one.revision.weights:
        if match := _SHARD.search(file.path):
            numbers.setdefault(int(match[2]), set()).add(int(match[1]))
    for total, found in numbers.items():
        missing = sorted(set(range(1, total + 1)) - found)
        if missing:
            message = f"lacks {len(missing)} of {total} shards (number {missing[0]} first)"
            yield Finding(check="missing-shard", level="error", checkpoints=(one.name,), message=message)


def _series(name: str) -> str:
    """What comes before the step: steps of `stage2-step1000` count from the start of that stage."""
    return name.split("step", 1)[0]


def _stages(published: Sequence[Published]) -> list[list[Published]]:
    """Checkpoints with a step, by stage and seed, in order of steps."""
    stages: dict[tuple[str, int | None], list[Published]] = {}
    for one in published:
        if one.about.step is not None:
            stages.setdefault((_series(one.name), one.about.seed), []).append(one)
    return [sorted(stage, key=lambda one: one.about.step or 0) for stage in stages.values()]


def _tokens_fall(published: Sequence[Published]) -> Iterator[Finding]:
    for stage in _stages(published):
        known = [one for one in stage if one.about.tokens is not None]
        for before, after in pairwise(known):
            assert before.about.tokens is not None
            assert after.about.tokens is not None
            if after.about.tokens < before.about.tokens:
                message = "are out of order: the later step is named with fewer tokens"
                yield Finding(check="order", level="error", checkpoints=(before.name, after.name), message=message)


def _sizes(published: Sequence[Published]) -> Iterator[Finding]:
    usual = median(one.revision.weight_bytes for one in published) if published else 0
    odd = [one for one in published if abs(one.revision.weight_bytes - usual) > OTHER_SIZE * usual]
    for size, names in _grouped(odd, lambda one: str(one.revision.weight_bytes)).items():
        message = (
            f"has {int(size) / 1e9:.3g} GB of weights, most have {usual / 1e9:.3g} GB: "
            "another dtype or shape, or files are missing"
        )
        yield Finding(check="size", level="warning", checkpoints=names, message=message)


def _blobs(published: Sequence[Published]) -> Iterator[Finding]:
    """Another tokenizer.json is a warning; another config.json a note, as it also names library versions."""

    def blob(path: str) -> Callable[[Published], str | None]:
        return lambda one: file.sha256 or file.blob if (file := one.revision.file(path)) else None

    tokenizer = "has a tokenizer.json that differs from that of most: the same text may give other tokens"
    for names in _minorities(published, blob("tokenizer.json")):
        yield Finding(check="tokenizer", level="warning", checkpoints=names, message=tokenizer)
    config = "has a config.json that differs from that of most: compare them before comparing the weights"
    for names in _minorities(published, blob("config.json")):
        yield Finding(check="config", level="note", checkpoints=names, message=config)


def _minorities(published: Sequence[Published], key: Callable[[Published], str | None]) -> list[tuple[str, ...]]:
    groups = _grouped(published, key)
    return sorted(groups.values(), key=len)[:-1]


def _grouped(published: Sequence[Published], key: Callable[[Published], str | None]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for one in published:
        if (value := key(one)) is not None:
            groups[value] = (*groups.get(value, ()), one.name)
    return groups


def _gaps(published: Sequence[Published]) -> Iterator[Finding]:
    """Steps missing from an otherwise regular sequence."""
    for stage in _stages(published):
        pairs = [(a, b, (b.about.step or 0) - (a.about.step or 0)) for a, b in pairwise(stage)]
        if len(pairs) < 3:
            continue
        stride, often = Counter(step for *_, step in pairs).most_common(1)[0]
        if stride <= 0 or often < REGULAR * len(pairs):
            continue
        for before, after, step in pairs:
            if step >= 2 * stride:
                message = f"follow each other, though steps come every {stride:,}: {step // stride - 1} are missing"
                yield Finding(check="gap", level="note", checkpoints=(before.name, after.name), message=message)
