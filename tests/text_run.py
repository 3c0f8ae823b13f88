"""One run on the embedded English text, trained in the test: folders `step40-tokens20480`, ..., whose loss falls."""

import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import Architecture, build_model, init_stds
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import canonical_tensors
from pliant.data.corpora import open_corpus
from pliant.data.tokenizers import open_tokenizer
from pliant.training.cross_entropy import cross_entropies

SHAPE = Architecture(width=8, layers=1, heads=2, feed_forward=16, context=32)
ROWS = 16
TOKENS_PER_STEP = ROWS * SHAPE.context
BYTES = 256
DOCUMENTS = 200


@cache
def _text() -> torch.Tensor:
    documents = islice(open_corpus("english").documents("train"), DOCUMENTS)
    return torch.frombuffer(bytearray("\n".join(d.text for d in documents).encode()), dtype=torch.uint8).long()


def train(root: Path, *, members: int, steps: int = 30, seed: int = 0) -> list[Path]:
    """`members` checkpoints of one run, one every `steps` steps; the stds of its initialisation are known."""
    model = build_model(SHAPE, BYTES, seed)
    stds = init_stds(SHAPE, canonical_tensors(model))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    chance = torch.Generator().manual_seed(seed)
    folders = []
    for step in range(1, members * steps + 1):
        starts = torch.randint(len(_text()) - SHAPE.context - 1, (ROWS, 1), generator=chance)
        windows = _text()[starts + torch.arange(SHAPE.context + 1)]
        loss = cross_entropies(model(input_ids=windows[:, :-1]).logits, windows[:, 1:]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % steps == 0:
            folders.append(saved(root / f"step{step}-tokens{step * TOKENS_PER_STEP}", model, About(init_stds=stds)))
    return folders


def saved(folder: Path, model: Any, about: About) -> Path:
    """`model` with the tokenizer of bytes in a Hugging Face folder."""
    folder.mkdir(parents=True)
    save_weights(model, folder)
    open_tokenizer("bytes").save(folder)
    about.write(folder)
    return folder


def short_documents(file: Path) -> Path:
    """The beginnings of the same text's documents, so short that 8,192 bytes of held-out text are more than 20."""
    documents = islice(open_corpus("english").documents("train"), DOCUMENTS)
    parts = [d.text[start : start + 300] for d in documents for start in range(0, 3000, 300)]
    file.write_text("".join(json.dumps({"text": part}) + "\n" for part in parts if len(part) == 300))
    return file
