"""A part of the held-out text, in whole blocks spread over it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Number `number` of `of` subsets: every `of`-th block of text, so that each subset reads from all over it."""

    number: int
    of: int

    def blocks(self, count: int) -> range:
        """Which of `count` blocks it holds."""
        return range(self.number, count, self.of)
