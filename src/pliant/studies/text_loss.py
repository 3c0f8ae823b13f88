"""The loss of checkpoint after checkpoint on a little held-out text, in blocks, for the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.audit.loss_curve import TextLoss
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.trajectory import Member
from pliant.data.tasks import EncodedSplit
from pliant.evaluation.losses import loss_measurement
from pliant.execution.engine import UserError
from pliant.studies.materials import MaterialSpec, markov_language, open_materials
from pliant.studies.members import described
from pliant.studies.plan import longest_context
from pliant.training.decoder import choose_forward

BLOCK_TOKENS = 128
"""A window is at most this long, so that 4096 tokens make 32 blocks of the paired interval."""
BLOCKS = 32
BATCH_TOKENS = 2048
FEWEST_BLOCKS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextLosses:
    """Measures checkpoints on `windows`; `vocabulary` is one more than the largest id of the tokenizer."""

    windows: EncodedSplit
    vocabulary: int

    def __call__(self, member: Member) -> TextLoss:
        """The loss of each block. The model is gone afterwards, and with it the mapping of its files into memory.

        Raises:
            CheckpointError: it does not open, or embeds fewer ids than the tokenizer has.
        """
        model = open_checkpoint(member.folder).model
        rows = model.get_input_embeddings().weight.shape[0]
        if self.vocabulary > rows:
            raise CheckpointError(
                f"{member.folder}: the tokenizer has {self.vocabulary:,} ids, the model embeds {rows:,}; "
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
        parts = np.array_split(np.arange(len(self.windows)), min(len(self.windows), BLOCKS))
        blocks = [
            measure(split=EncodedSplit(inputs=self.windows.inputs[part], targets=self.windows.targets[part])).value
            for part in parts
        ]
        return TextLoss(blocks=np.array(blocks), vocabulary_size=rows)


def text_losses(members: Sequence[Member], *, corpus: str, tokenizer: str | None, tokens: int) -> TextLosses | None:
    """What measures `members`, on windows that the first of them with a sound config can take and, without
    `tokenizer`, in its own tokens; None if there is none. Of Hub revisions small files alone are fetched.

    Raises:
        ValueError: the corpus or the tokenizer does not open, or the text is too short.
    """
    for member in members:
        try:
            folder = described(member)
            context = min(BLOCK_TOKENS, longest_context(folder))
        except (CheckpointError, OSError):  # a finding of the audit
            continue
        return _opened(folder, context, corpus, tokenizer, tokens)
    return None


def _opened(folder: Path, context: int, corpus: str, tokenizer: str | None, tokens: int) -> TextLosses:
    if tokens < FEWEST_BLOCKS * context:
        raise UserError(
            f"--tokens {tokens} is too few for a paired interval over windows of {context}; "
            f"give at least {FEWEST_BLOCKS * context}"
        )
    spec = MaterialSpec(
        corpus=corpus,
        tokenizer=tokenizer or ("markov" if markov_language(corpus) else str(folder)),
        context=context,
        held_out_split="validation",
        held_out_tokens=tokens,
        task_rows=1,
        tasks=(),
    )
    materials = open_materials(spec)
    return TextLosses(windows=materials.held_out, vocabulary=materials.tokenizer.vocabulary_size)
