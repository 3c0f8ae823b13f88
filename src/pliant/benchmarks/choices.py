"""Multiple choice: our scorer against lm-eval's own model, on the same model in memory and the same requests."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from pliant.benchmarks.result import Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.turns import best, in_turns, times_as_fast
from pliant.checkpoints.architecture import Architecture, build_model
from pliant.evaluation.scorer import Request, score

CHOICES = 4
LM_EVAL_BATCHES = (1, 16, 64)
OURS = "pliant"
TARGET = 4.0
VOCABULARY = 8192
AGREE = 1e-3
"""Nats, of sums over up to twelve tokens in fp32."""


def make_requests(documents: int, vocabulary: int) -> list[Request]:
    """Contexts of 80 to 120 tokens and four choices of 1 to 12, as in HellaSwag or ARC."""
    random = np.random.default_rng(0)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(random.integers(1, vocabulary, size=random.integers(low, high + 1)).tolist())

    contexts = [some(80, 120) for _ in range(documents)]
    return [Request(context=context, continuation=some(1, 12)) for context in contexts for _ in range(CHOICES)]


def contestants(
    model: Any, requests: list[Request], longest: int, found: dict[str, list[float]]
) -> dict[str, Callable[[], object]]:
    """Each scores all requests and leaves the log-probabilities in `found`."""
    from lm_eval.models.huggingface import HFLM

    from pliant.data.tokenizers import open_tokenizer

    def ours() -> None:
        found[OURS] = [one.log_probability for one in score(model, requests, batch_tokens=2048, longest=longest)]

    def lm_eval(name: str, batch: int) -> Callable[[], None]:
        theirs = HFLM(pretrained=model, tokenizer=open_tokenizer("bytes").backend, batch_size=batch, prefix_token_id=10)
        pairs = [(("", ""), list(one.context), list(one.continuation)) for one in requests]

        def run() -> None:
            with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
                found[name] = [nats for nats, _ in theirs._loglikelihood_tokens(pairs, disable_tqdm=True)]

        return run

    theirs = {f"lm-eval, batch {batch}": batch for batch in LM_EVAL_BATCHES}
    runners: dict[str, Callable[[], object]] = {OURS: ours}
    return runners | {name: lm_eval(name, batch) for name, batch in theirs.items()}


def measure(scale: Scale, tell: Tell) -> Row:
    """Requests a second, ours against lm-eval at its best batch size."""
    smoke = scale == "smoke"
    documents, rounds, width, layers = (4, 1, 32, 1) if smoke else (200, 5, 128, 4)
    shape = Architecture(
        width=width, layers=layers, heads=width // 32, feed_forward=8 * width // 3 // 8 * 8, context=512
    )
    model = build_model(shape, VOCABULARY, 0).eval()
    requests = make_requests(documents, VOCABULARY)
    found: dict[str, list[float]] = {}
    seconds = in_turns(contestants(model, requests, shape.context, found), rounds)
    theirs = {name: times for name, times in seconds.items() if name != OURS}
    apart = max(abs(a - b) for name in theirs for a, b in zip(found[OURS], found[name], strict=True))
    assert apart < AGREE, f"log-probabilities differ by {apart:.1e} nats: these are two different things"
    peer = best(theirs)
    what = f"{documents} documents x {CHOICES} choices, contexts of 100 tokens"
    return Row(
        work="multiple choice",
        figures=(times_as_fast(what, f"{peer} (its best)", theirs[peer], seconds[OURS], TARGET),),
        measured=seconds,
        notes=(f"largest difference of a log-probability: {apart:.0e} nats",),
    )
