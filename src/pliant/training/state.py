"""Training state on disk: weights and both moments, so that a resumed run ends with the same bits."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from pliant.checkpoints.folder import save_weights, whole_folder
from pliant.checkpoints.weights import canonical_tensors

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"


def save_optimizer(model: Any, optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Write AdamW's step and moments for each tensor by name."""
    from safetensors.torch import save_file

    moments = {}
    for name, parameter in canonical_tensors(model).items():
        for key, value in optimizer.state[parameter].items():
            # one count of steps may serve all tensors, which a file takes for each by itself
            moments[f"{name}.{key}"] = value.detach().contiguous() if value.ndim else value.detach().clone()
    save_file(moments, folder / OPTIMIZER_FILE)


def load_state(model: Any, optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Put the weights and moments saved in `folder` into `model` and `optimizer`.

    Raises:
        ValueError: a file is damaged.
    """
    weights, moments = (_tensors(folder / name) for name in ("model.safetensors", OPTIMIZER_FILE))
    with torch.no_grad():
        for name, parameter in canonical_tensors(model).items():
            parameter.copy_(weights[name])
            prefix = name + "."
            optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device)  # the step too: fused AdamW counts on the device
                for key, value in moments.items()
                if key.startswith(prefix) and "." not in key.removeprefix(prefix)
            }


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(file.read_bytes())  # not mapped: see `checkpoints.weights`
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged ({error}); `pliant fsck STUDY --repair` moves it aside, and `pliant run` trains again"
        ) from error


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
