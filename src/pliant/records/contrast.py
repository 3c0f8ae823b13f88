"""A difference between two budgets, written down before the runs that test it."""

from dataclasses import asdict, dataclass
from typing import Any

from pliant.records.identity import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenContrast:
    """loss(budget) - loss(against) of one modified curve, expected to be positive.

    `strength` is None where the learning rate is tuned for each checkpoint. `seen` with `low` and `high` (nats) is
    what the exploring runs `seeds` showed; `low` and `high` are None where they had no interval.
    """

    trajectory: str
    members: str
    modification: str
    label: str
    strength: float | None
    rate: str
    quantity: str
    budget: float
    against: float
    seen: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]

    @property
    def curve(self) -> tuple[str, str, str, float | None, str, str]:
        """What names the modified curve."""
        return (self.trajectory, self.members, self.label, self.strength, self.rate, self.quantity)

    def to_json(self) -> dict[str, Json]:
        return {**asdict(self), "seeds": list(self.seeds)}


def read_contrast(given: dict[str, Any]) -> FrozenContrast:
    """The inverse of `to_json`.

    Raises:
        TypeError: a field is missing or unknown.
    """
    return FrozenContrast(**{**given, "seeds": tuple(given["seeds"])})
