"""Low-rank adapters: W' = W + (alpha / rank) B A, A and B trained, W not; merged before anything is measured."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """LoRA (Hu et al., arXiv 2106.09685) on every linear layer of the blocks; with `dora` also the norm of each of its
    rows is trained apart (DoRA, Liu et al., arXiv 2402.09353)."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"rank", "alpha", "dora"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    rank: int = 8
    alpha: float = 16.0
    dora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be above 0, got {self.alpha}")

    @property
    def label(self) -> str:
        return f"{'DoRA' if self.dora else 'LoRA'} rank {self.rank}"
