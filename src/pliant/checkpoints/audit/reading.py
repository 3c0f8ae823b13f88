"""Reading checkpoints one after another, each at hand only while it is read."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.audit.configs import against_config
from pliant.checkpoints.audit.finding import Check, Finding
from pliant.checkpoints.audit.inspection import Inspection, inspect
from pliant.checkpoints.audit.loss_curve import TextLoss
from pliant.checkpoints.audit.norm_curve import Norms, read_norms
from pliant.checkpoints.trajectory import Member

Progress = Callable[[str, float], None]
"""Called with a checkpoint's name and the share of its weights fetched: 0 when its turn comes."""
AtHand = Callable[[Member], AbstractContextManager[None]]
"""Has the files of a member in its folder while the block runs, and lets them go after it. Raises CheckpointError."""
Measure = Callable[[Member], TextLoss]
"""The loss of a member at hand on held-out text. Raises CheckpointError where it does not open."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What was read of one checkpoint; no `inspection` where it could not be had. It holds no file open."""

    name: str
    inspection: Inspection | None = None
    norms: Norms | None = None
    loss: TextLoss | None = None
    failure: Finding | None = None


def on_disk(member: Member) -> AbstractContextManager[None]:
    """The files of a folder are at hand as they are."""
    return nullcontext()


def read_checkpoints(
    members: Sequence[Member],
    *,
    progress: Progress,
    at_hand: AtHand = on_disk,
    norms: bool = True,
    measure: Measure | None = None,
) -> list[Reading]:
    """Read each member once, one at a time; what cannot be had or does not open is a failure of that one."""
    readings = []
    for member in members:
        progress(member.name, 0.0)
        try:
            with at_hand(member):
                readings.append(_read(member, norms, measure))
        except CheckpointError as error:
            readings.append(Reading(name=member.name, failure=_failure(member, "fetch", "could not be fetched", error)))
    return readings


def _read(member: Member, norms: bool, measure: Measure | None) -> Reading:
    seen = inspect(member)
    found = read_norms(seen.tensors) if norms and seen.tensors else None
    if measure is None or not _opens(seen, found):
        return Reading(name=member.name, inspection=seen, norms=found)
    try:
        return Reading(name=member.name, inspection=seen, norms=found, loss=measure(member))
    except CheckpointError as error:
        failure = _failure(member, "config", "does not open", error)
        return Reading(name=member.name, inspection=seen, norms=found, failure=failure)


def _opens(seen: Inspection, norms: Norms | None) -> bool:
    """Whether a model of it can be built; if not, a finding says so already, or its weights are pickled."""
    sound = norms is not None and not norms.not_finite and seen.config is not None and not seen.defects
    return sound and not any(one.check == "shape" for one in against_config(seen))


def _failure(member: Member, check: Check, what: str, error: CheckpointError) -> Finding:
    names = [str(member.folder), *([member.revision.name] if member.revision is not None else [])]
    said = str(error).rstrip(".")
    for name in names:
        said = said.replace(f"{name}: ", "").replace(f"{name} ", "it ")
    return Finding(check=check, level="error", checkpoints=(member.name,), message=f"{what}: {said}")
