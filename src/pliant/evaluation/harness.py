"""Benchmarks of lm-eval on the model in memory, with every item's result."""

import contextlib
import copy
import io
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pliant.data.tokenizers import Tokenizer
from pliant.evaluation.benchmarks import SEED_OF_OTHERS, load_tasks, seed_as_lm_eval
from pliant.evaluation.prompts import start_token
from pliant.records.record import Measurement

_BOOTSTRAPS = 1000  # of lm-eval's standard errors where there is no formula


def harness_measurements(
    model: Any,
    tokenizer: Tokenizer,
    task: str,
    *,
    include_path: Path | None,
    limit: int | None,
    num_fewshot: int | None,
    batch_tokens: int,
    draw: int | None,
    sign: int | None,
) -> list[Measurement]:
    """The metrics of one task, group or tag by lm-eval's keys ("acc,none", "acc_stderr,none", ...), a block an item.

    `split` names a member of a group or tag. lm-eval's cache of responses is never used: it does not know the weights.

    Raises:
        BenchmarkError: no task has this name (the nearest are named), or its data are not to be had here.
    """
    with _quiet():
        loaded = load_tasks(task, include_path, num_fewshot)
        from lm_eval.evaluator import evaluate

        from pliant.evaluation.resident import ResidentLM

        start = start_token(tokenizer)
        seed_as_lm_eval()
        for one in loaded["tasks"].values():
            one.set_fewshot_seed(SEED_OF_OTHERS)
        results = evaluate(  # not simple_evaluate, which runs pip for its log: four seconds a call
            lm=ResidentLM(model, _own(tokenizer, start), start=start, batch_tokens=batch_tokens),
            task_dict=loaded,
            limit=limit,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=True,
            cache_requests=False,
        )
    return list(_measurements(task, results, draw, sign))


@lru_cache(maxsize=4)
def _own(tokenizer: Tokenizer, start: int) -> Any:
    """A copy for lm-eval, which writes a padding token into it; one that the model embeds."""
    own = copy.deepcopy(tokenizer.backend)
    if own.pad_token_id is None:
        own.pad_token = own.convert_ids_to_tokens(start)
    return own


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's progress bars and advice, and without its processes for bootstraps: workers may have none."""
    logger, before = logging.getLogger("lm_eval"), os.environ.get("DISABLE_MULTIPROC")
    level = logger.level
    logger.setLevel(logging.ERROR)
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


def _measurements(task: str, results: Mapping[str, Any], draw: int | None, sign: int | None) -> Iterator[Measurement]:
    items = {name: _items(samples) for name, samples in results["samples"].items()}
    for name, metrics in results["results"].items():
        members = [name] if name in items else [own for own in items if own in _leaves(results, name)]
        for key, value in metrics.items():
            if "," not in key or not isinstance(value, (int, float)):
                continue
            blocks, count = _pooled([items[member].get(key, ()) for member in members], key, float(value))
            yield Measurement(
                metric=key,
                split=None if name == task else name,
                value=float(value),
                draw=draw,
                sign=sign,
                blocks=blocks,
                count=count,
            )


def _leaves(results: Mapping[str, Any], group: str) -> set[str]:
    """The tasks of a group, through the groups in it."""
    found: set[str] = set()
    for member in results["group_subtasks"].get(group, ()):
        found |= {member} | _leaves(results, member)
    return found


def _items(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Every item's value by metric key, in the order of the documents."""
    found: dict[str, list[Any]] = {}
    for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
        for metric in sample["metrics"]:
            found.setdefault(f"{metric},{sample['filter']}", []).append(sample[metric])
    return found


def _pooled(members: Sequence[Sequence[Any]], key: str, value: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Each item as a block, where the metric is the mean of its items; none for corpus metrics and weighted groups."""
    each = [item for items in members for item in items]
    if not all(members):
        return (), ()
    if key.startswith("bits_per_byte,"):
        blocks, count = tuple(-nats / math.log(2) for nats, _ in each), tuple(int(size) for _, size in each)
    elif all(isinstance(item, (bool, int, float)) for item in each):
        blocks, count = tuple(float(item) for item in each), (1,) * len(each)
    else:
        return (), ()
    return (blocks, count) if math.isclose(sum(blocks) / sum(count), value, rel_tol=1e-9) else ((), ())
