"""A Zipf-Markov language: unlimited fresh tokens and an exactly known floor; and its fine-tuning relatives.

Token frequencies u ~ 1/(rank + 2) over 64 tokens, ranks permuted; 16 token classes at random. Given the last two
tokens a, b the next comes with probability .55 from a table T2[class(a), b] (4 successors, weights ~ 1/j^1.5), .35
from T1[b] (16 successors, weights ~ 1/j) and .10 from u; successors are drawn from u without replacement.

Relatives to fine-tune on: `sibling` has a new T2 and keeps the rest; `skip` keeps the tables and takes the class
from the token *three* back, so that what was learned must be unlearned and attention re-routed.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from pliant.data.windows import Windows
from pliant.records.identity import digest

VOCABULARY = 64
CLASSES = 16
CHUNK = 4096  # windows generated together: large enough for NumPy, small enough to stay in cache
GENERATOR_VERSION = 1

Relative = Literal["base", "sibling", "skip"]
MARKOV_TASKS: dict[str, Relative] = {"sibling": "sibling", "skip": "skip"}
"""Task names of a Markov corpus."""


@dataclass(frozen=True)  # no slots: the derived tables below are cached on the instance
class MarkovLanguage:
    """The language of `seed`, or one of its relatives."""

    seed: int
    relative: Relative = "base"

    @property
    def fingerprint(self) -> str:
        return "sha256:" + digest(["markov", GENERATOR_VERSION, self.seed, self.relative], length=64)

    @cached_property
    def classes(self) -> Int[np.ndarray, " vocabulary"]:
        return np.random.default_rng([self.seed, 1]).permutation(np.arange(VOCABULARY) % CLASSES)

    @cached_property
    def next_token(self) -> Float[np.ndarray, "classes vocabulary vocabulary"]:
        """P(next | class, b), axes in that order; rows sum to one."""
        frequency = 1.0 / (np.random.default_rng([self.seed, 0]).permutation(VOCABULARY) + 2)
        frequency /= frequency.sum()
        pair_stream = 4 if self.relative == "sibling" else 3
        one_back = _successors(np.random.default_rng([self.seed, 2]), VOCABULARY, 16, 1.0, frequency)
        pairs = np.random.default_rng([self.seed, pair_stream])
        two_back = _successors(pairs, CLASSES * VOCABULARY, 4, 1.5, frequency)
        two_back = two_back.reshape(CLASSES, VOCABULARY, VOCABULARY)
        return 0.55 * two_back + 0.35 * one_back + 0.10 * frequency

    @cached_property
    def stationary(self) -> Float[np.ndarray, "vocabulary vocabulary vocabulary"]:
        """P(c, a, b) of three tokens in a row, by power iteration to a change below 1e-15 in total."""
        state = np.full((VOCABULARY,) * 3, VOCABULARY**-3.0)
        for _ in range(1000):
            following = self._advance(state)
            change = np.abs(following - state).sum()
            state = following
            if change < 1e-15:
                break
        return state

    def _advance(self, state: Float[np.ndarray, "c a b"]) -> Float[np.ndarray, "a b next"]:
        onto_class = np.eye(CLASSES)[self.classes]
        if self.relative == "skip":
            by_class = np.einsum("cab,ck->kab", state, onto_class)
            return np.asarray(np.einsum("kab,kbn->abn", by_class, self.next_token))
        pairs = state.sum(axis=0)
        return np.asarray(pairs[:, :, None] * self.next_token[self.classes])

    def floor(self, context: int) -> float:
        """The lowest expected loss, nats per token, over the `context` targets of a window.

        Mean over t = 1..context of H(X_t | X_0..X_{t-1}): block entropies of the stationary chain give the first
        two terms, which see less than three tokens back, and the entropy rate the rest.
        """
        triple = self.stationary
        four = self._four_token_entropy()
        blocks = [_entropy(triple.sum(axis=(0, 1))), _entropy(triple.sum(axis=0)), _entropy(triple), four]
        rates = np.diff(blocks)
        return float(np.mean([rates[min(t, 3) - 1] for t in range(1, context + 1)]))

    def _four_token_entropy(self) -> float:
        """H(X_0..X_3) = H(X_0..X_2) + E[H(next | its conditioning state)]."""
        rows = -np.sum(self.next_token * np.log(self.next_token), axis=-1)
        known = self.stationary.sum(axis=(1 if self.relative == "skip" else 0))
        return _entropy(self.stationary) + float(np.sum(known * rows[self.classes]))

    def sample(self, count: int, length: int, generator: np.random.Generator) -> Windows:
        """`count` independent windows of `length` tokens, each started from the stationary distribution."""
        tokens = np.empty((length + 3, count), dtype=np.int64)
        first = np.searchsorted(self._cumulative_start, generator.random(count) * self._cumulative_start[-1])
        first = np.minimum(first, VOCABULARY**3 - 1)
        tokens[0], tokens[1], tokens[2] = np.unravel_index(first, (VOCABULARY,) * 3)
        accept, alias = self._alias
        back = 3 if self.relative == "skip" else 2
        for position in range(3, length):
            state = self.classes[tokens[position - back]] * VOCABULARY + tokens[position - 1]
            scaled = generator.random(count) * VOCABULARY
            column = scaled.astype(np.int64)
            chosen = state * VOCABULARY + column
            tokens[position] = np.where(scaled - column < accept[chosen], column, alias[chosen])
        return np.ascontiguousarray(tokens[:length].T)

    @cached_property
    def _cumulative_start(self) -> Float[np.ndarray, " triples"]:
        return np.cumsum(self.stationary)

    @cached_property
    def _alias(self) -> tuple[Float[np.ndarray, " cells"], Int[np.ndarray, " cells"]]:
        accept, alias = _alias_table(self.next_token.reshape(-1, VOCABULARY))
        return accept.ravel(), alias.ravel()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovWindows:
    """Endless windows of a language; `stream` and `seed` name one of its independent streams."""

    language: MarkovLanguage
    stream: str
    seed: int
    context: int

    @property
    def fingerprint(self) -> str:
        return "sha256:" + digest([self.language.fingerprint, self.stream, self.seed], length=64)

    @property
    def windows_per_epoch(self) -> None:
        return None

    def windows(self, start: int, stop: int) -> Windows:
        chunks = range(start // CHUNK, (stop - 1) // CHUNK + 1)
        parts = [_chunk(self, chunk) for chunk in chunks]
        first = chunks[0] * CHUNK
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole[start - first : stop - first]


@lru_cache(maxsize=4)
def _chunk(source: MarkovWindows, chunk: int) -> Windows:
    stream = int(digest([source.stream, source.seed]), 16)
    generator = np.random.default_rng([source.language.seed, stream, chunk])
    return source.language.sample(CHUNK, source.context + 1, generator)


def _successors(
    generator: np.random.Generator, rows: int, count: int, exponent: float, frequency: Float[np.ndarray, " v"]
) -> Float[np.ndarray, "rows v"]:
    table = np.zeros((rows, VOCABULARY))
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    for row in table:
        row[generator.choice(VOCABULARY, size=count, replace=False, p=frequency)] = weights / weights.sum()
    return table


def _alias_table(
    rows: Float[np.ndarray, "rows v"],
) -> tuple[Float[np.ndarray, "rows v"], Int[np.ndarray, "rows v"]]:
    """Walker's alias tables, a row each: column k keeps itself with probability accept[k], else gives alias[k]."""
    accept = np.ones_like(rows)
    alias = np.tile(np.arange(rows.shape[1]), (len(rows), 1))
    for scaled, keep, other in zip(rows * rows.shape[1], accept, alias, strict=True):
        small = [column for column in range(len(scaled)) if scaled[column] < 1]
        large = [column for column in range(len(scaled)) if scaled[column] >= 1]
        while small and large:
            low, high = small.pop(), large[-1]
            keep[low], other[low] = scaled[low], high
            scaled[high] -= 1 - scaled[low]
            if scaled[high] < 1:
                small.append(large.pop())
    return accept, alias


def _entropy(probabilities: Float[np.ndarray, "..."]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log(positive)))
