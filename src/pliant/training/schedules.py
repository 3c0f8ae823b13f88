"""Learning rate as a function of the step."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

ScheduleKind = Literal["wsd", "cosine", "linear", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Warm-up over `warmup` of the steps (a share below 1) or `warmup_steps` steps, then one of:

    - `wsd`: constant, then linear to zero over the last `decay_fraction` of the steps;
    - `cosine`: to `floor` x peak along half a cosine;
    - `linear`: to `floor` x peak along a line;
    - `constant`.

    The rates are those of transformers' get_{cosine,cosine_with_min_lr,linear,constant}_schedule_with_warmup, but for
    one thing: warm-up ends one update sooner, rate (step + 1) / warmup instead of step / warmup, as an update at rate 0
    would be wasted. A share of warm-up is rounded to the nearest step.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"kind", "warmup_steps", "warmup_fraction", "decay_fraction", "floor"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    kind: ScheduleKind = "wsd"
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    decay_fraction: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be 0 or more, got {self.warmup_steps}")
        for name in ("warmup_fraction", "decay_fraction", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.warmup_steps and self.warmup_fraction:
            raise ValueError("give warmup_steps or warmup_fraction, not both")
        if self.floor and self.kind in ("wsd", "constant"):
            raise ValueError(f"floor has an effect for cosine and linear only; take it out of the {self.kind} schedule")
        if self.kind == "wsd" and self.warmup_fraction:
            raise ValueError("wsd shares one trunk between budgets: give warmup_steps, not warmup_fraction")

    def shared_until(self, total: int) -> int:
        """How many first steps are the same for every larger budget; runs share a trunk up to here."""
        if self.kind == "wsd":
            return total - round(self.decay_fraction * total)
        return total if self.kind == "constant" and not self.warmup_fraction else 0

    def learning_rate(self, peak: float, step: int, total: int | None) -> float:
        """The rate of update `step` (from 0) of a run of `total` steps; `total` None is the undecayed trunk."""
        warmup = self.warmup_steps if total is None else max(self.warmup_steps, round(self.warmup_fraction * total))
        if step < warmup:
            return peak * (step + 1) / warmup
        if total is None or self.kind == "constant":
            return peak
        return peak * self._decay(step, warmup, total)

    def _decay(self, step: int, warmup: int, total: int) -> float:
        if self.kind == "wsd":
            start = self.shared_until(total)
            return 1.0 if step < start else (total - step) / (total - start)
        gone = (step - warmup) / max(1, total - warmup)
        left = (1 + math.cos(math.pi * gone)) / 2 if self.kind == "cosine" else 1 - gone
        return self.floor + (1 - self.floor) * left
