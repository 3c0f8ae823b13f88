"""Log-probability of whole documents, longer than the model can read or not, as `loglikelihood_rolling` of lm-eval."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pliant.evaluation.scorer import Request, Tokens, score


def rolling_windows(tokens: Tokens, *, start: int, longest: int) -> Iterator[Request]:
    """Every token once, after as many before it as fit in windows of `longest`.

    The first window begins with the token `start`. The last one reaches back, so that what it predicts has a context.
    """
    for first in range(0, len(tokens), longest):
        stop = min(first + longest, len(tokens))
        before = tokens[stop - longest - 1 : first] if first else (start,)
        yield Request(context=before, continuation=tokens[first:stop])


def document_log_probabilities(
    model: Any, documents: Sequence[Tokens], *, start: int, batch_tokens: int, longest: int
) -> list[float]:
    """ln p(document) of each, in nats: the sum over its windows. 0 for one without tokens."""
    windows = [list(rolling_windows(tokens, start=start, longest=longest)) for tokens in documents]
    scores = iter(
        score(model, [window for each in windows for window in each], batch_tokens=batch_tokens, longest=longest)
    )
    return [math.fsum(next(scores).log_probability for _ in each) for each in windows]


def bits_per_byte(log_probabilities: Sequence[float], lengths: Sequence[int]) -> float:
    """-sum of ln p / (ln 2 x sum of bytes): the metric `bits_per_byte` of lm-eval."""
    return -math.fsum(log_probabilities) / (math.log(2) * sum(lengths))
