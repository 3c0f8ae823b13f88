"""Requests a second of our scorer against lm-eval's own model: `python benchmarks/scoring.py [--documents 200]`.

The same model in memory, the same requests (documents with four choices each), one thread, the contestants one after
the other in every round, so that a busy machine slows all of them; the figure is the ratio of medians.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.evaluation.scorer import Request, score

CHOICES = 4
LM_EVAL_BATCHES = (1, 16, 64)
OURS = "ours"


def make_requests(documents: int, vocabulary: int) -> list[Request]:
    """Contexts of 20 to 120 tokens and choices of 1 to 12, as in HellaSwag or ARC."""
    random = np.random.default_rng(0)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(random.integers(1, vocabulary, size=random.integers(low, high + 1)).tolist())

    contexts = [some(20, 120) for _ in range(documents)]
    return [Request(context=context, continuation=some(1, 12)) for context in contexts for _ in range(CHOICES)]


def contestants(model: Any, requests: list[Request], longest: int) -> dict[str, Callable[[], list[float]]]:
    """Each scores all requests and returns the log-probabilities."""
    from lm_eval.models.huggingface import HFLM

    from pliant.data.tokenizers import open_tokenizer

    def ours() -> list[float]:
        return [one.log_probability for one in score(model, requests, batch_tokens=2048, longest=longest)]

    def lm_eval(batch: int) -> Callable[[], list[float]]:
        theirs = HFLM(pretrained=model, tokenizer=open_tokenizer("bytes").backend, batch_size=batch, prefix_token_id=10)
        pairs = [(("", ""), list(one.context), list(one.continuation)) for one in requests]
        return lambda: [nats for nats, _ in theirs._loglikelihood_tokens(pairs, disable_tqdm=True)]

    return {OURS: ours} | {f"lm-eval, batch {batch}": lm_eval(batch) for batch in LM_EVAL_BATCHES}


def main() -> None:
    """Print requests a second of each, and how much faster ours is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8192)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    shape = Architecture(width=given.width, layers=6, heads=8, feed_forward=8 * given.width // 3 // 8 * 8, context=512)
    model = build_model(shape, given.vocabulary, 0).eval()
    requests = make_requests(given.documents, given.vocabulary)
    runners = contestants(model, requests, shape.context)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    found: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, run in runners.items():
            begun = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - begun)
    ours = statistics.median(seconds[OURS])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(requests)} requests, {given.rounds} rounds")
    for name, times in seconds.items():
        median = statistics.median(times)
        apart = max(abs(a - b) for a, b in zip(found[OURS], found[name], strict=True))
        print(
            f"{name:18s} {len(requests) / median:8.1f} requests/s  ours is {median / ours:5.2f} times as fast"
            f"  largest difference {apart:.1e} nats"
        )


if __name__ == "__main__":
    main()
