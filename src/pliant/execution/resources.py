"""What a worker takes of a cluster."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

RESERVED = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each worker takes: processors and accelerators (fractions share one), bytes of memory, and amounts of what
    the cluster's nodes offer by a name of their own. A study that says None of the first two leaves them to its
    numerics plan."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar[frozenset[str]] = frozenset()
    RUNTIME: ClassVar = frozenset({"cpus", "gpus", "memory", "custom"})

    cpus: float | None = None
    gpus: float | None = None
    memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in RESERVED.keys() & self.custom.keys():
            raise ValueError(f"custom names {name}, which Ray has a meaning for; write {RESERVED[name]} instead")
        given = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory, **self.custom}
        for name, amount in given.items():
            if amount is not None and not 0 <= amount < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, got {amount:g}")
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus must be a whole number or less than 1, got {self.gpus:g}")
        if self.cpus == 0 and not any(amount for amount in given.values()):
            raise ValueError("a worker must take something: cpus, gpus, memory or one that is custom")

    @property
    def amounts(self) -> dict[str, float]:
        """By the names that Ray's nodes list them under, without zeros; one processor where nothing is said."""
        cpus = 1.0 if self.cpus is None else self.cpus
        named = {"CPU": cpus, "GPU": self.gpus or 0.0, "memory": float(self.memory or 0), **self.custom}
        return {name: amount for name, amount in named.items() if amount}

    def fit_into(self, offered: Mapping[str, float]) -> int:
        """How many workers a node that has `offered` takes."""
        return int(min(offered.get(name, 0.0) // amount for name, amount in self.amounts.items()))

    def __str__(self) -> str:
        return ", ".join(f"{name} {amount:g}" for name, amount in self.amounts.items())
