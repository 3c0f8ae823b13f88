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
    """Minimises loss + (amount / 2) ||theta - theta_0||^2, theta_0 the base, over every trained tensor.

    The amount is in nats per squared unit of weight. The term's gradient amount x (theta - theta_0) joins that of the
    loss before clipping and AdamW (L2-SP, Li et al., arXiv 1802.01483, there without a new head).
    """

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "anchor"

    amount: float

    def __post_init__(self) -> None:
        _finite("anchor", self.amount)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """Minimises loss + (amount / 2) sum_i F_i (theta_i - theta_0i)^2 (EWC, Kirkpatrick et al., arXiv 1612.00796).

    F is the diagonal of the true Fisher information of the base per predicted token, labels drawn from the base itself,
    on the first `tokens` tokens (whole windows, one at least) of pre-training text in the order of seed 0. In these
    units the term is the divergence from the base in nats a token, to second order and without what is off the
    diagonal, so an amount means about what it means for `Divergence`.
    """

    IDENTITY: ClassVar = frozenset({"amount", "tokens"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "EWC"

    amount: float
    tokens: int = 8192

    def __post_init__(self) -> None:
        _finite("ewc", self.amount)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Minimises (1 - amount) x loss + amount x loss on pre-training text, both mean nats a token.

    Each step reads as many fresh windows of text as a batch has examples, in the order of the fine-tuning seed
    (Ibrahim et al., arXiv 2403.08763, who mix the two in one batch).
    """

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "replay"

    amount: float

    def __post_init__(self) -> None:
        _share("replay", self.amount)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Minimises loss + amount x KL(p_0 || p) of the next token on pre-training text, p_0 the base's prediction.

    KL is in nats a token, its mean over the same windows as `Replay` reads. Of the losses that keep a model's old
    outputs (Li and Hoiem, arXiv 1606.09282, on the new task's inputs) it is the one that is 0 at the base.
    """

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "KL"

    amount: float

    def __post_init__(self) -> None:
        _finite("kl", self.amount)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WiseFT:
    """theta' = (1 - amount) theta_fine-tuned + amount theta_0 after plain fine-tuning: amount 1 is the base.

    WiSE-FT, Wortsman et al., arXiv 2109.01903; their alpha is 1 - amount.
    """

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "WiSE-FT"

    amount: float

    def __post_init__(self) -> None:
        _share("wise_ft", self.amount)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFirst:
    """Before everything trains, the output head alone does, for `amount` times as many steps: for classification.

    Both parts have the schedule's shape and its peak rate, each a fresh optimiser; batches go on from one to the other
    (LP-FT, Kumar et al., arXiv 2202.10054).
    """

    IDENTITY: ClassVar = frozenset({"amount"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    NAME: ClassVar = "LP-FT"

    amount: float

    def __post_init__(self) -> None:
        _finite("probe_first", self.amount)

    def steps(self, steps: int) -> int:
        """Of the head alone, before `steps` of everything."""
        return round(self.amount * steps)

    @property
    def label(self) -> str:
        return f"{self.NAME} {self.amount:g}"


Regulariser = Anchor | ElasticWeights | Replay | Divergence | WiseFT | ProbeFirst
