"""The ways of holding on to the base while fine-tuning; each has an amount, and amount 0 is plain fine-tuning."""

import math
from dataclasses import dataclass
from typing import ClassVar


def _finite(name: str, amount: float) -> None:
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{name} must be a finite number >= 0, got {amount}")


def _share(name: str, amount: float) -> None:
    if not 0 <= amount <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {amount}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Adds (amount / 2) ||theta - theta_0||^2 to the loss (L2-SP, Li et al., arXiv 1802.01483)."""

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float

    def __post_init__(self) -> None:
        _finite("anchor", self.amount)

    @property
    def label(self) -> str:
        return f"anchor {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """Adds (amount / 2) sum_i F_i (theta_i - theta_0i)^2, F the diagonal Fisher information on `tokens` tokens of
    pre-training text (EWC, Kirkpatrick et al., arXiv 1612.00796)."""

    IDENTITY: ClassVar = frozenset({"amount", "tokens"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float
    tokens: int = 8192

    def __post_init__(self) -> None:
        _finite("ewc", self.amount)

    @property
    def label(self) -> str:
        return f"EWC {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Trains on (1 - amount) x task loss + amount x loss on as many windows of pre-training text."""

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float

    def __post_init__(self) -> None:
        _share("replay", self.amount)

    @property
    def label(self) -> str:
        return f"replay {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Adds amount x KL(base || model) of the next token, nats a token, on as many windows of pre-training text."""

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float

    def __post_init__(self) -> None:
        _finite("kl", self.amount)

    @property
    def label(self) -> str:
        return f"KL {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WiseFT:
    """theta' = (1 - amount) theta_fine-tuned + amount theta_0 (WiSE-FT, Wortsman et al., arXiv 2109.01903, where the
    weight of the fine-tuned model is 1 - amount)."""

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float

    def __post_init__(self) -> None:
        _share("wise_ft", self.amount)

    @property
    def label(self) -> str:
        return f"WiSE-FT {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFirst:
    """Before all weights train, the output head alone does, for `amount` times as many steps (LP-FT, Kumar et al.,
    arXiv 2202.10054). For classification."""

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    amount: float

    def __post_init__(self) -> None:
        _finite("probe_first", self.amount)

    @property
    def label(self) -> str:
        return f"LP-FT {self.amount:g}"


Regulariser = Anchor | ElasticWeights | Replay | Divergence | WiseFT | ProbeFirst
