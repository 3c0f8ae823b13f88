"""Training state on disk: weights and both moments, so that a resumed run ends with the same bits."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from pliant.checkpoints.folder import save_weights, whole_folder
from pliant.checkpoints.weights import canonical_tensors

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
CHECKSUMS_FILE = "checksums.json"


def save_optimizer(model: Any, optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Write AdamW's step and moments for each tensor by name, and the checksums of what `folder` then holds."""
    from safetensors.torch import save_file

    moments = {}
    for name, parameter in canonical_tensors(model).items():
        for key, value in optimizer.state[parameter].items():
            # one count of steps may serve all tensors, which a file takes for each by itself
            moments[f"{name}.{key}"] = value.detach().contiguous() if value.ndim else value.detach().clone()
    save_file(moments, folder / OPTIMIZER_FILE)
    checksums = {name: _checksum((folder / name).read_bytes()) for name in _STATE}
    (folder / CHECKSUMS_FILE).write_text(json.dumps(checksums))


def load_state(model: Any, optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Put the weights and moments saved in `folder` into `model` and `optimizer`.

    Raises:
        ValueError: a file is damaged.
    """
    weights, moments = (_tensors(folder / name) for name in _STATE)
    with torch.no_grad():
        for name, parameter in canonical_tensors(model).items():
            parameter.copy_(weights[name])
            prefix = name + "."
            optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device)  # the step too: fused AdamW counts on the device
                for key, value in moments.items()
                if key.startswith(prefix) and "." not in key.removeprefix(prefix)
            }


def check_state(folder: Path) -> None:
    """Compare the weights and moments saved in `folder` with their checksums, as far as they are there.

    Raises:
        ValueError: a file is damaged.
    """
    for file in (folder / name for name in _STATE):
        if file.is_file():
            _tensors(file)


_STATE = ("model.safetensors", OPTIMIZER_FILE)


def _checksum(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _known(folder: Path) -> dict[str, str]:
    """States of older releases have no checksums."""
    file = folder / CHECKSUMS_FILE
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return known


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = file.read_bytes()
        if _known(file.parent).get(file.name) not in (None, _checksum(content)):
            raise ValueError("it does not match its checksum")
        tensors: dict[str, torch.Tensor] = load(content)  # not mapped: see `checkpoints.weights`
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); `pliant fsck STUDY --repair` moves it aside, and `pliant run` trains again"
        ) from error
    return tensors


def save_snapshot(model: Any, optimizer: torch.optim.AdamW, step: int, folder: Path) -> None:
    """Write `folder/step-<step>` whole, then drop the older snapshots beside it."""
    target = folder / f"step-{step:09d}"
    with whole_folder(target) as part:
        save_weights(model, part)
        save_optimizer(model, optimizer, part)
        (part / STATE_FILE).write_text(json.dumps({"step": step}))
    for older in folder.glob("step-*"):
        if older.name < target.name:
            shutil.rmtree(older, ignore_errors=True)


def latest_snapshot(folder: Path) -> tuple[int, Path] | None:
    """The step and folder of the newest snapshot, or None."""
    found = sorted(folder.glob("step-*"))
    return (int(found[-1].name.removeprefix("step-")), found[-1]) if found else None
