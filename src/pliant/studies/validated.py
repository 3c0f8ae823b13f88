"""What the validation of bfloat16 found, as it is kept beside a study and told."""

import json
import math
from dataclasses import asdict, dataclass

from pliant.statistics.bias import Bias

VALIDATION_FILE = "validation.json"
PAYS = 1.1
"""Times as fast as fp32, or it is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One modification of one checkpoint: the bias of its sensitivity in bfloat16, in nats per token."""

    checkpoint: str
    label: str
    strength: float
    bias: Bias


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was compared; `times_as_fast` is fp32 over bfloat16, the median over CPU seconds of one theta'."""

    comparisons: tuple[Comparison, ...]
    times_as_fast: float

    @property
    def accepted(self) -> bool:
        """Every bias is negligible beside the interval it would enter, and bfloat16 pays."""
        return self.times_as_fast >= PAYS and all(one.bias.negligible for one in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """Where the bias is the largest share of the interval's half-width."""
        return max(self.comparisons, key=lambda one: _share(one.bias))

    @property
    def words(self) -> str:
        """One line: the decision and the figure that decided it."""
        one = self.worst
        return (
            f"bfloat16 for held-out losses {'accepted' if self.accepted else 'refused'}: {self.times_as_fast:.2f} "
            f"times as fast as fp32 (at least {PAYS} wanted); bias of the sensitivity at most {one.bias.value:+.1e} "
            f"+- {one.bias.uncertainty:.1e} nats, {_share(one.bias):.1%} of its interval's half-width "
            f"{one.bias.half_width:.1e} (under 10 % wanted), at {one.label}, {one.strength:g}, {one.checkpoint}"
        )

    def to_json(self) -> str:
        """The decision and every figure behind it."""
        content = {"accepted": self.accepted, "words": self.words, **asdict(self)}
        return json.dumps(content, indent=1) + "\n"


def _share(bias: Bias) -> float:
    return (abs(bias.value) + bias.uncertainty) / bias.half_width if bias.half_width else math.inf
