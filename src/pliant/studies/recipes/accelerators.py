"""Accelerators as their makers' data sheets have them, and how long they take for some work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pliant.studies.recipes.workload import Precision, Work

USED_SHARE = 0.4
"""Of the peak; a good training loop at a size that fills the device reaches this, small models do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """Dense peak in FLOP/s by precision (bfloat16 with sums in fp32; float32 without TF32, as torch has it)."""

    name: str
    memory_bytes: int
    peak: Mapping[Precision, float]

    def hours(self, work: Iterable[Work]) -> float:
        """sum of FLOP / (`USED_SHARE` x peak) / 3600."""
        return sum(each.flop / (USED_SHARE * self.peak[each.precision]) for each in work) / 3600


ACCELERATORS = (
    Accelerator(name="A100 80 GB", memory_bytes=80 * 10**9, peak={"bfloat16": 312e12, "float32": 19.5e12}),
    Accelerator(name="H100 80 GB", memory_bytes=80 * 10**9, peak={"bfloat16": 989e12, "float32": 67e12}),
    Accelerator(name="H200 141 GB", memory_bytes=141 * 10**9, peak={"bfloat16": 989e12, "float32": 67e12}),
)
