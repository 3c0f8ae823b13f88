"""Log-probabilities of continuations, each context computed once: the scorer of multiple choice and perplexity."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.evaluation.branches import Row, padded, row_of, tree_mask

Tokens = tuple[int, ...]
_LIKE_PLAIN = 1e-3
"""Nats. Rounding moves a log-probability by 1e-5; a mask or a position that a class does not heed, by 0.01 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A continuation to score after a context, both in tokens."""

    context: Tokens
    continuation: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """`log_probability` is the sum over the continuation's tokens of ln p(token | all before), in nats; `greedy`
    whether each of them is the most likely one. As `loglikelihood` of lm-eval."""

    log_probability: float
    greedy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A row with what its branches continue it by, and the places of their requests in the list."""

    row: Row
    continuations: tuple[Tokens, ...]
    requests: tuple[int, ...]


_Logits = Callable[[Any, Sequence[Row]], list[Float[Tensor, "places vocabulary"]]]
"""From a model and rows to the logits at the places of each row, continuation by continuation."""


def score(model: Any, requests: Sequence[Request], *, batch_tokens: int, longest: int) -> list[Score]:
    """The score of each request; those of one context share its computation where the model's class allows.

    `longest` is what the model can read; a longer context loses its beginning. `batch_tokens` bounds a forward pass.

    Raises:
        ValueError: a context or a continuation is empty, or a continuation is longer than `longest`.
    """
    groups = _groups(requests, longest)
    if not heeds_branches(model):
        return _run(model, _apart(groups, requests), batch_tokens, _all_logits)
    window = getattr(model.config, "sliding_window", None) or longest
    jobs = [job for context, members in groups.items() for job in _jobs(context, members, requests, window)]
    return _run(model, jobs, batch_tokens, _logits_at_places)


def score_plainly(model: Any, requests: Sequence[Request], *, batch_tokens: int, longest: int) -> list[Score]:
    """The same with a row a continuation and every logit computed: what any class can do, and `score` is held to.

    Raises:
        ValueError: as `score`.
    """
    return _run(model, _apart(_groups(requests, longest), requests), batch_tokens, _all_logits)


@torch.inference_mode()
def heeds_branches(model: Any) -> bool:
    """Whether the model reads position ids and a four-dimensional mask, and has a head that can be given fewer places.

    It is tried out on a few tokens: of the classes of transformers most do, and their documentation does not say.
    """
    row = row_of((1, 2, 3), ((2, 1, 3), (3, 2), (1, 1)))
    alone = [row_of((1, 2, 3), (continuation,)) for continuation in ((2, 1, 3), (3, 2), (1, 1))]
    try:
        (shared,) = _logits_at_places(model, [row])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):  # what a class says that takes neither
        return False
    apart = torch.cat(_all_logits(model, alone))
    if shared.shape != apart.shape:
        return False
    return torch.allclose(shared.log_softmax(-1), apart.log_softmax(-1), atol=_LIKE_PLAIN, rtol=1e-4, equal_nan=True)


def _groups(requests: Sequence[Request], longest: int) -> dict[Tokens, list[int]]:
    """The requests by the context that is left to them: the model reads `longest` tokens and predicts one more."""
    groups: dict[Tokens, list[int]] = {}
    for index, request in enumerate(requests):
        if not request.context or not request.continuation:
            raise ValueError("a request needs a context and a continuation of at least one token each")
        if len(request.continuation) > longest:
            raise ValueError(
                f"a continuation of {len(request.continuation)} tokens is longer than the {longest} that the model "
                "can read; shorten it, or score it as a document"
            )
        groups.setdefault(request.context[-(longest + 1 - len(request.continuation)) :], []).append(index)
    return groups


def _jobs(context: Tokens, members: list[int], requests: Sequence[Request], window: int) -> list[_Job]:
    """One row for all, or a row each where attention slides and so counts places in the row, not positions."""
    row = row_of(context, [requests[index].continuation for index in members])
    if len(row) > window:
        return _apart({context: members}, requests)
    return [_job(context, members, requests)]


def _apart(groups: dict[Tokens, list[int]], requests: Sequence[Request]) -> list[_Job]:
    return [_job(context, [index], requests) for context, members in groups.items() for index in members]


def _job(context: Tokens, members: list[int], requests: Sequence[Request]) -> _Job:
    continuations = tuple(requests[index].continuation for index in members)
    return _Job(row=row_of(context, continuations), continuations=continuations, requests=tuple(members))


@torch.inference_mode()
def _run(model: Any, jobs: Sequence[_Job], batch_tokens: int, logits: _Logits) -> list[Score]:
    found: dict[int, Score] = {}
    for batch in _batches(jobs, batch_tokens):
        for job, at_places in zip(batch, logits(model, [job.row for job in batch]), strict=True):
            found.update(zip(job.requests, _scores(at_places, job.continuations), strict=True))
    return [found[index] for index in range(len(found))]


def _batches(jobs: Sequence[_Job], batch_tokens: int) -> Iterator[list[_Job]]:
    """Rows of nearly one length together, the longest first; branched ones apart from those without a mask."""
    batch: list[_Job] = []
    for job in sorted(jobs, key=lambda job: (job.row.branched, len(job.row)), reverse=True):
        if batch and ((len(batch) + 1) * len(batch[0].row) > batch_tokens or job.row.branched != batch[0].row.branched):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _scores(logits: Float[Tensor, "places vocabulary"], continuations: Sequence[Tokens]) -> list[Score]:
    tokens = torch.tensor([t for continuation in continuations for t in continuation], device=logits.device)
    chosen = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0].double().cpu()
    likeliest = (logits.argmax(dim=-1) == tokens).cpu()
    lengths = [len(continuation) for continuation in continuations]
    return [
        Score(log_probability=float(part.sum()), greedy=bool(hits.all()))
        for part, hits in zip(torch.split(chosen, lengths), torch.split(likeliest, lengths), strict=True)
    ]


def _all_logits(model: Any, rows: Sequence[Row]) -> list[Tensor]:
    """The model as it is on rows without branches, padded on the right, where causal attention does not look."""
    inputs = padded([row.tokens for row in rows], 0).to(model.device)
    logits = model(input_ids=inputs, use_cache=False).logits
    return [logits[number, [place for part in row.places for place in part]].float() for number, row in enumerate(rows)]


def _logits_at_places(model: Any, rows: Sequence[Row]) -> list[Tensor]:
    """The same, branches and all, with the head computed at the places that are asked for alone.

    The head is given fewer hidden states, not called by hand: what the class does to its logits afterwards stays.
    """
    branch = padded([row.branch for row in rows], -1)
    tree = {}
    if any(row.branched for row in rows):
        positions = padded([row.positions for row in rows], 0).to(model.device)
        tree = {"attention_mask": tree_mask(branch, model.dtype).to(model.device), "position_ids": positions}
    length = branch.shape[1]
    places = [[place + number * length for part in row.places for place in part] for number, row in enumerate(rows)]
    chosen = torch.tensor([place for row in places for place in row], device=model.device)
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, arguments: (arguments[0].flatten(0, 1)[chosen][None],)
    )
    try:
        inputs = padded([row.tokens for row in rows], 0).to(model.device)
        logits = model(input_ids=inputs, use_cache=False, **tree).logits[0].float()
    finally:
        hook.remove()
    return list(logits.split([len(row) for row in places]))


def longest_input(model: Any) -> int:
    """How many tokens the model can read, by its config; 2,048 where it does not say, as in lm-eval."""
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    return next((int(found) for name in names if (found := getattr(model.config, name, None))), 2048)
