"""Whether the loss on the same text improves along a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.trajectory import Member

CONFIDENCE = 0.999
SMALLEST_NATS = 0.05
WARN_SHARE = 0.05
ERROR_SHARE = 0.25
"""Shares of what was learned so far, ln(vocabulary) - the best earlier loss."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextLoss:
    """Loss of each block of one text, nats per token, (blocks,), blocks of equal length; and the vocabulary's size."""

    blocks: Float[np.ndarray, " blocks"]
    vocabulary_size: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.blocks))


def loss_findings(members: Sequence[Member], losses: Mapping[str, TextLoss]) -> tuple[Finding, ...]:
    """Later checkpoints whose loss is clearly above an earlier one's, for each seed; losses that are no numbers.

    For j after i, the best before it, rise_b = loss_jb - loss_ib on block b, and

        low = mean(rise) - t(CONFIDENCE, blocks - 1) std(rise) / sqrt(blocks).

    low above SMALLEST_NATS and above WARN_SHARE of ln(vocabulary) - loss_i is a warning, above ERROR_SHARE an error:
    that undoes a quarter of what was learned, which neither a schedule nor a change of data does. One finding for each
    i: either i holds later weights, or those after it are damaged or hold earlier ones. A first loss near
    ln(vocabulary) is what an untrained model has.
    """
    broken = tuple(name for name, loss in losses.items() if not math.isfinite(loss.mean))
    message = "has a loss that is no finite number: the checkpoint is damaged"
    found = [Finding(check="sanity-loss", level="error", checkpoints=(name,), message=message) for name in broken]
    by_seed: dict[int | None, list[Member]] = {}
    for member in members:
        if member.name in losses and member.name not in broken and _at(member) is not None:
            by_seed.setdefault(member.about.seed, []).append(member)
    for run in by_seed.values():
        found.extend(_of_run(sorted(run, key=lambda member: _at(member) or 0), losses))
    return tuple(found)


def _at(member: Member) -> int | None:
    return member.about.tokens if member.about.tokens is not None else member.about.step


def _of_run(run: Sequence[Member], losses: Mapping[str, TextLoss]) -> list[Finding]:
    rises: dict[str, list[tuple[str, float, float]]] = {}
    for place, later in enumerate(run[1:], start=1):
        before = [one for one in run[:place] if (_at(one) or 0) < (_at(later) or 0)]
        if not before:
            continue
        best = min(before, key=lambda one: losses[one.name].mean)
        rise, share = _clear_rise(losses[best.name], losses[later.name])
        if share > WARN_SHARE:
            rises.setdefault(best.name, []).append((later.name, rise, share))
    return [_rise(best, after) for best, after in rises.items()]


def _clear_rise(earlier: TextLoss, later: TextLoss) -> tuple[float, float]:
    """The mean rise in nats, and its lower bound as a share of what `earlier` had learned; 0 if too small to tell."""
    rise = later.blocks - earlier.blocks
    error = float(np.std(rise, ddof=1)) / math.sqrt(len(rise))
    low = float(np.mean(rise)) - float(stdtrit(len(rise) - 1, CONFIDENCE)) * error
    if low <= SMALLEST_NATS:
        return float(np.mean(rise)), 0.0
    learned = math.log(earlier.vocabulary_size) - earlier.mean
    return float(np.mean(rise)), low / learned if learned > SMALLEST_NATS else math.inf


def _rise(best: str, after: Sequence[tuple[str, float, float]]) -> Finding:
    name, rise, _ = max(after, key=lambda one: one[1])
    level = "error" if any(share > ERROR_SHARE for *_, share in after) else "warning"
    more = f" (the largest of {len(after)} rises after it)" if len(after) > 1 else ""
    message = (
        f"get worse along the run: on the same text {name} loses {rise:.2f} nats more than {best}{more}; "
        f"{best} may hold later weights, or what follows is damaged"
    )
    return Finding(
        check="sanity-loss",
        level="error" if level == "error" else "warning",
        checkpoints=(best, *(one[0] for one in after)),
        message=message,
    )
