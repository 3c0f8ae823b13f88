"""The whole audit of checkpoints on disk: files, weights, and the loss on a little held-out text."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.audit.audit import Audit, Depth, Progress, Row, audit_files, audit_weights
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.loss_curve import TextLoss, loss_findings
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.trajectory import Member
from pliant.data.tasks import EncodedSplit
from pliant.evaluation.losses import loss_measurement
from pliant.execution.engine import UserError
from pliant.studies.materials import MaterialSpec, markov_language, open_materials
from pliant.studies.plan import longest_context
from pliant.training.decoder import choose_forward

BLOCK_TOKENS = 128
"""A window is at most this long, so that 4096 tokens make 32 blocks of the paired interval."""
BLOCKS = 32
BATCH_TOKENS = 2048
FEWEST_BLOCKS = 8


def audit(
    members: Sequence[Member],
    *,
    depth: Depth = "loss",
    corpus: str = "english",
    tokenizer: str | None = None,
    tokens: int = 4096,
    progress: Progress = lambda name: None,
) -> Audit:
    """Audit checkpoints on disk. `depth` metadata reads each weight file once, weights also takes norms, loss also
    measures `tokens` held-out tokens of `corpus` with the checkpoints' own `tokenizer` or another.

    A broken checkpoint is a finding. Pickled weights are not opened.

    Raises:
        ValueError: the corpus or the tokenizer does not open, or the text is too short.
    """
    if depth == "metadata":
        return audit_files(members, progress)
    found = audit_weights(members, progress)
    if depth == "weights":
        return found
    damaged = {name for one in found.findings if one.check in _UNREADABLE for name in one.checkpoints}
    readable = {row.name for row in found.rows if row.format == "safetensors"} - damaged
    losses, failures = _losses([one for one in members if one.name in readable], corpus, tokenizer, tokens, progress)
    rows = tuple(_with_loss(row, losses.get(row.name)) for row in found.rows)
    return Audit(depth="loss", rows=rows, findings=(*found.findings, *failures, *loss_findings(members, losses)))


_UNREADABLE = frozenset({"cut-short", "missing-shard", "not-finite", "shape"})


def _with_loss(row: Row, loss: TextLoss | None) -> Row:
    return row if loss is None else replace(row, loss_nats=loss.mean)


def _losses(
    members: Sequence[Member], corpus: str, tokenizer: str | None, tokens: int, progress: Progress
) -> tuple[dict[str, TextLoss], list[Finding]]:
    if not members:
        return {}, []
    text = _text(members[0].folder, corpus, tokenizer, tokens)
    losses, failures = {}, []
    for member in members:
        progress(member.name)
        try:
            losses[member.name] = _text_loss(member, *text)
        except CheckpointError as error:
            said = str(error).replace(f"{member.folder}: ", "").replace(f"{member.folder} ", "it ")
            message = f"does not open: {said.rstrip('.')}"
            failures.append(Finding(check="config", level="error", checkpoints=(member.name,), message=message))
    return losses, failures


def _text(folder: Path, corpus: str, tokenizer: str | None, tokens: int) -> tuple[EncodedSplit, int]:
    """The held-out windows, and one more than the largest id of the tokenizer."""
    context = min(BLOCK_TOKENS, longest_context(folder))
    if tokens < FEWEST_BLOCKS * context:
        raise UserError(
            f"--tokens {tokens} is too few for a paired interval over windows of {context}; "
            f"give at least {FEWEST_BLOCKS * context}"
        )
    name = tokenizer or ("markov" if markov_language(corpus) else str(folder))
    spec = MaterialSpec(
        corpus=corpus,
        tokenizer=name,
        context=context,
        held_out_split="validation",
        held_out_tokens=tokens,
        task_rows=1,
        tasks=(),
    )
    materials = open_materials(spec)
    return materials.held_out, materials.tokenizer.vocabulary_size


def _text_loss(member: Member, split: EncodedSplit, vocabulary: int) -> TextLoss:
    model = open_checkpoint(member.folder).model
    rows = model.get_input_embeddings().weight.shape[0]
    if vocabulary > rows:
        raise CheckpointError(
            f"{member.folder}: the tokenizer has {vocabulary:,} ids, the model embeds {rows:,}; "
            "name the one it was trained with (--tokenizer)"
        )
    measure = partial(
        loss_measurement,
        model,
        forward=choose_forward(model, "lean"),
        name="validation",
        batch_tokens=BATCH_TOKENS,
        draw=None,
        sign=None,
    )
    parts = np.array_split(np.arange(len(split)), min(len(split), BLOCKS))
    blocks = [measure(split=EncodedSplit(inputs=split.inputs[part], targets=split.targets[part])) for part in parts]
    return TextLoss(blocks=np.array([block.value for block in blocks]), vocabulary_size=rows)
