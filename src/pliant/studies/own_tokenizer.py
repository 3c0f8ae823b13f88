"""Whether a checkpoint brings the tokenizer that its trajectory is measured with."""

from pathlib import Path

import numpy as np

from pliant.checkpoints.about import CheckpointError
from pliant.data.tokenizers import open_tokenizer
from pliant.studies.materials import Materials

_FILE = "tokenizer.json"
_ROWS = 8
"""Held-out rows on which two tokenizers are compared."""


def check_own_tokenizer(folder: Path, first: Path, materials: Materials, name: str) -> None:
    """Refuse the checkpoint in `folder` if its tokenizer gives other tokens for held-out text than that of `first`.

    Raises:
        CheckpointError: it does.
    """
    own, other = folder / _FILE, first / _FILE
    if not (own.is_file() and other.is_file()) or own.read_bytes() == other.read_bytes():
        return
    texts = [materials.tokenizer.backend.decode(row) for row in materials.held_out.inputs[:_ROWS]]
    here, there = open_tokenizer(str(folder)).encode(texts), materials.tokenizer.encode(texts)
    if not all(np.array_equal(a, b) for a, b in zip(here, there, strict=True)):
        raise CheckpointError(
            f"{name} comes with another tokenizer than {first.name}: the same text gives other tokens; "
            "leave it out, or set tokenizer to measure all with one"
        )
