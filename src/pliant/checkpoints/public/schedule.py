"""The learning rate of a public run as a function of the step, as far as it is known."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

ANNEALED = 0.001
"""A rate this close to its floor, as a share of the peak, is at the end of its decay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSchedule:
    """How the rate of somebody else's run went; a value that is not known is None, and so is what follows from it.

    Rates are shares of `peak`. They rise along a line from `warmup_from` to 1 at `warmup_steps` = w, and then, with
    N = `total_steps`, s the step and f = `floor`:

    - `cosine`: f + (1 - f) (1 + cos(pi (s - w) / (N - w))) / 2, and f after N;
    - `clipped-cosine`: max(f, (1 + cos(pi (s - w) / N)) / 2), as GPT-NeoX has it;
    - `linear`: 1 - (1 - f) (s - w) / (N - w), and f after N;
    - `wsd`: 1, then along a line to f over the last `decay_steps`;
    - `constant`: 1.

    After `changed_after` the run left this schedule, and nothing is known.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Literal["cosine", "clipped-cosine", "linear", "wsd", "constant"]
    peak: float | None = None
    floor: float | None = None
    warmup_steps: int | None = None
    warmup_from: float = 0.0
    total_steps: int | None = None
    decay_steps: int | None = None
    changed_after: int | None = None

    def __post_init__(self) -> None:
        for name in ("peak", "warmup_steps", "total_steps", "decay_steps", "changed_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        for name in ("floor", "warmup_from"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is a share of the peak, between 0 and 1, got {value}")
        if self.decay_steps is not None and self.kind != "wsd":
            raise ValueError(f"decay_steps has an effect for wsd only; take it out of the {self.kind} schedule")
        if self.total_steps is not None and self.total_steps <= max(self.warmup_steps or 0, self.decay_steps or 0):
            raise ValueError(f"total_steps {self.total_steps:,} must be more than warmup_steps and decay_steps")

    def share(self, step: int) -> float | None:
        """The rate of update number `step` (the first is 1) over the peak; None where unknown."""
        if step < 1 or (self.changed_after is not None and step > self.changed_after):
            return None
        if self.warmup_steps is None:
            return None
        if step < self.warmup_steps:
            return self.warmup_from + (1 - self.warmup_from) * step / self.warmup_steps
        if self.kind == "constant":
            return 1.0
        if self.total_steps is None or self.floor is None:
            return None
        return self._decayed(min(step, self.total_steps), self.warmup_steps, self.total_steps, self.floor)

    def learning_rate(self, step: int) -> float | None:
        """The rate of the last of `step` updates; None where unknown, and before the first."""
        share = self.share(step)
        return None if share is None or self.peak is None else share * self.peak

    def annealed(self, step: int) -> bool | None:
        """Whether the decay is over after `step` updates: the rate is within 0.001 of the peak from its floor."""
        share = self.share(step)
        if share is None or self.warmup_steps is None:
            return None
        if self.kind == "constant" or step <= self.warmup_steps or self.floor is None:
            return False
        return share <= self.floor + ANNEALED

    def _decayed(self, step: int, warmup: int, total: int, floor: float) -> float | None:
        if self.kind == "clipped-cosine":
            return max(floor, (1 + math.cos(math.pi * (step - warmup) / total)) / 2)
        if self.kind == "wsd":
            if self.decay_steps is None:
                return None
            return floor + (1 - floor) * min(1.0, (total - step) / max(1, self.decay_steps))
        gone = (step - warmup) / (total - warmup)
        left = (1 + math.cos(math.pi * gone)) / 2 if self.kind == "cosine" else 1 - gone
        return floor + (1 - floor) * left
