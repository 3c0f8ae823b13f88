"""Norms of the weights along a run: values that are no numbers, and checkpoints off the curve."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.inspection import Inspection
from pliant.checkpoints.weights import StoredTensor

FEWEST = 5
MANY_MADS = 8.0
SMALLEST = 0.05
"""Residuals of ln norm below this (5 %) are no outliers however smooth the rest of the curve is."""
_MAD_TO_STD = 1.4826
_CHUNK = 1 << 24  # fp64 copies of 128 MB at most, whatever the tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """L2 norm of each tensor in fp64, and the names of those that hold NaN or infinity."""

    by_tensor: Mapping[str, float]
    not_finite: tuple[str, ...]

    @property
    def total(self) -> float:
        """sqrt of the sum of squares over all tensors."""
        return math.sqrt(sum(norm**2 for norm in self.by_tensor.values()))


def read_norms(tensors: Mapping[str, StoredTensor]) -> Norms:
    """Norms of stored tensors, one tensor in memory at a time."""
    from safetensors import safe_open

    norms = {}
    for file in sorted({tensor.file for tensor in tensors.values()}):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - a file handle, no dictionary
                flat = opened.get_tensor(name).flatten()
                squares = (float(part.double().square().sum()) for part in torch.split(flat, _CHUNK))
                norms[name] = math.sqrt(sum(squares))
    bad = tuple(name for name, norm in norms.items() if not math.isfinite(norm))
    return Norms(by_tensor=norms, not_finite=bad)


def norm_findings(inspections: Sequence[Inspection], norms: Mapping[str, Norms]) -> Iterator[Finding]:
    """Checkpoints with NaN or infinity, and those off the curve of total norm against tokens, for each seed."""
    for name, found in norms.items():
        if found.not_finite:
            where = f"{found.not_finite[0]} and {len(found.not_finite) - 1} more tensors"
            where = where if len(found.not_finite) > 1 else found.not_finite[0]
            message = f"holds NaN or infinity in {where}: the checkpoint is damaged"
            yield Finding(check="not-finite", level="error", checkpoints=(name,), message=message)
    sound = [one for one in inspections if one.name in norms and norms[one.name].total > 0]
    sound = [one for one in sound if one.at is not None and not norms[one.name].not_finite]
    by_seed: dict[int | None, list[Inspection]] = {}
    for one in sorted(sound, key=lambda one: one.at or 0):
        by_seed.setdefault(one.about.seed, []).append(one)
    for run in by_seed.values():
        if len(run) < FEWEST:
            names = tuple(one.name for one in run)
            message = f"are too few with known tokens for a curve of norms (fewer than {FEWEST}); not tested"
            yield Finding(check="norm-outlier", level="note", checkpoints=names, message=message)
            continue
        places = np.array([one.at for one in run], dtype=np.float64)
        totals = np.array([norms[one.name].total for one in run])
        for at, ratio in outliers(places, totals):
            message = f"has a weight norm of {ratio:.2f} times what its neighbours suggest"
            yield Finding(check="norm-outlier", level="warning", checkpoints=(run[at].name,), message=message)


def outliers(places: Float[np.ndarray, " n"], totals: Float[np.ndarray, " n"]) -> list[tuple[int, float]]:
    """Inner points off the curve, worst first: (index, norm over the norm interpolated from its neighbours).

    r_i = ln norm_i - its linear interpolation in ln(1 + tokens) between the two neighbours. The largest |r| is an
    outlier if it exceeds both `SMALLEST` and `MANY_MADS` x 1.4826 x the median |r| of the others; it is taken out and
    the rest is looked at again, at most a quarter of the points. The two ends have one neighbour and are not tested.
    """
    keep = list(range(len(places)))
    found: list[tuple[int, float]] = []
    while len(found) < len(places) // 4 and len(keep) > 3:
        residuals = _residuals(np.log1p(places[keep]), np.log(totals[keep]))
        worst = int(np.argmax(np.abs(residuals)))
        others = _without_near(residuals, worst)
        scale = _MAD_TO_STD * float(np.median(np.abs(others))) if len(others) else 0.0
        if abs(residuals[worst]) <= max(SMALLEST, MANY_MADS * scale):
            break
        found.append((keep.pop(worst + 1), float(np.exp(residuals[worst]))))
    return found


def _residuals(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " inner"]:
    share = (x[1:-1] - x[:-2]) / np.maximum(x[2:] - x[:-2], np.finfo(float).tiny)
    return np.asarray(y[1:-1] - (1 - share) * y[:-2] - share * y[2:])


def _without_near(residuals: Float[np.ndarray, " inner"], at: int) -> Float[np.ndarray, " others"]:
    """The residuals that the point itself did not shape: neither its own nor its neighbours'."""
    return np.delete(residuals, [i for i in (at - 1, at, at + 1) if 0 <= i < len(residuals)])
