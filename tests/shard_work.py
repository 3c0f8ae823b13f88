"""What ranks do in tests: module-level callables that the processes of `run_ranks` import, torch only where used."""

import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.engine import Progress, UserError
from pliant.studies.ranks import Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Fine-tune the checkpoint in `folder` as each of `settings` on random rows, and save the whole weights of each,
    its losses and the memory that this process took in `out`."""

    folder: Path
    settings: tuple[Any, ...]
    vocabulary: int
    out: Path


def random_task(vocabulary: int, length: int = 12) -> Any:
    """Random windows; the first targets of each are not scored, of some more than of others."""
    import numpy as np

    from pliant.data.tasks import EncodedSplit, EncodedTask

    windows = np.random.default_rng(0).integers(vocabulary, size=(40, length + 1))
    targets = windows[:, 1:].copy()
    for row in range(len(windows)):
        targets[row, : row % 7] = -100
    rows = EncodedSplit(inputs=windows[:, :-1], targets=targets)
    splits = {"train": rows, "validation": rows, "test": rows}
    return EncodedTask(name="random", fingerprint="sha256:task", splits=splits, label_tokens=(), truncated=0)


def tuned(checkpoint: Any, forward: Any, work: Tuning) -> list[tuple[Any, dict[str, Any]]]:
    """Each variant and the whole tensors after it; the model is put back in between."""
    from pliant.checkpoints.weights import canonical_tensors, whole
    from pliant.modifications.finetune import finetuned_variant
    from pliant.modifications.ground import Ground
    from pliant.modifications.variant import keep_base, restore

    model, base = checkpoint.model, keep_base(checkpoint.model, checkpoint.stored)
    ground = Ground(task=random_task(work.vocabulary), base=base, text=lambda seed: None, forward=forward)
    found = []
    for settings in work.settings:
        (variant,) = finetuned_variant(settings, model, ground, seed=0)
        found.append((variant, {n: whole(t.detach()).clone() for n, t in canonical_tensors(model).items()}))
        restore(model, base)
    return found


def tune_and_gather(seat: Seat, work: Tuning, progress: Progress) -> None:
    import torch

    from pliant.checkpoints.sharded import open_sharded
    from pliant.studies.sharded_group import meet
    from pliant.training.sharded import SharedRows

    torch.set_num_threads(1)
    meet(seat, "cpu")
    checkpoint = open_sharded(work.folder, device=torch.device("cpu"), attention="sdpa")
    found = tuned(checkpoint, SharedRows(), work)
    if seat.rank == 0:
        torch.save([(variant.losses, tensors) for variant, tensors in found], work.out)


def greet(seat: Seat, folder: Path, progress: Progress) -> None:
    progress(0.5, {"rank": float(seat.rank)})
    (folder / f"{seat.rank}-of-{seat.ranks}").write_text(str(os.getpid()))


def die_in_the_second(seat: Seat, folder: Path, progress: Progress) -> None:
    greet(seat, folder, progress)
    if seat.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def refuse_in_the_second(seat: Seat, folder: Path, progress: Progress) -> None:
    if seat.rank == 1:
        raise UserError("this cannot be")
    raise RuntimeError("the connection to the second was closed")


def wait_for_ever(seat: Seat, folder: Path, progress: Progress) -> None:
    greet(seat, folder, progress)
    time.sleep(600)


def peak_bytes() -> int:
    """The most memory that this process took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
