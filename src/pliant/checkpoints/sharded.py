"""A checkpoint opened by several processes together: each reads and holds its rows of every tensor (FSDP2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pliant.checkpoints.about import CheckpointError, read_about
from pliant.checkpoints.blocks import decoder_blocks
from pliant.checkpoints.folder import Checkpoint, check_files, check_written_for
from pliant.checkpoints.naming import stored_names
from pliant.checkpoints.pretrained import refuse_other_tensors, without_weights
from pliant.checkpoints.shards import ShardedWeights, held, place_of_rows
from pliant.checkpoints.stored import StoredWeights, open_stored
from pliant.checkpoints.weights import (
    NO_PARAMETERS,
    StoredTensor,
    canonical_tensors,
    not_finite,
    stored_fingerprint,
    stored_tensors,
)


def open_sharded(folder: Path, *, device: torch.device, attention: str, trust_remote_code: bool = False) -> Checkpoint:
    """The checkpoint in `folder` with its tensors shared by the processes of the default process group.

    All of them call this. A decoder block is gathered while it computes and let go again; the embeddings, the head and
    what else is outside of the blocks likewise, together. Memory of a process: its rows of the model, in fp32.

    Raises:
        CheckpointError: as `open_checkpoint`; or tensors that are not stored one for one, or a class without blocks.
            One process may raise alone: the others then wait for it, and have to be ended.
    """
    check_files(folder)
    weights = _fingerprint(folder)
    tensors = stored_tensors(folder)
    model = without_weights(folder, trust_remote_code=trust_remote_code)
    names = _names(folder, model, tensors)
    model.set_attn_implementation(attention)
    _share(model, folder, device)
    stored = open_stored({name: tensors[source] for name, source in names.items()})
    rows = _fill(model, stored)
    for name in not_finite({name: held(tensor) for name, tensor in canonical_tensors(model).items()}):
        raise CheckpointError(
            f"{folder}: tensor {name} holds NaN or infinity; the checkpoint is damaged, fetch it again"
        )
    about = read_about(folder)
    check_written_for(folder, about, weights)
    return Checkpoint(
        model=model,
        about=about,
        weights=weights,
        stored=ShardedWeights(rows=rows, like=canonical_tensors(model)),
    )


def _fingerprint(folder: Path) -> str:
    """Computed once: hashing takes longer than reading."""
    found = [stored_fingerprint(folder) if dist.get_rank() == 0 else ""]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def _names(folder: Path, model: Any, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """The stored name of each tensor of `model`, all of them checked."""
    names = stored_names(model, tensors)
    if names is None:
        raise CheckpointError(
            f"{folder}: the tensors are not stored one for one as {type(model).__name__} holds them (some are missing, "
            "fused, quantised or stored twice); measure it without shards"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()}
    stored = {name: tensors[source].shape for name, source in names.items()}
    others = [name for name in tensors if name not in set(names.values()) and not NO_PARAMETERS.search(name)]
    mismatched = [(name, shape, shapes[name]) for name, shape in stored.items() if shape != shapes[name]]
    refuse_other_tensors(folder, {"missing_keys": [], "unexpected_keys": others, "mismatched_keys": mismatched})
    return names


def _share(model: Any, folder: Path, device: torch.device) -> None:
    """Make `model` one whose parameters are shared, without values, on `device`.

    Everything is let go after each pass: what stayed gathered would be stale once a modification changes the weights.
    Gradients are summed: each process has that of its own part of a batch's loss.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    blocks = decoder_blocks(model)
    if not blocks:
        raise CheckpointError(
            f"{folder}: {type(model).__name__} does not say which of its modules are its layers; measure it without "
            "shards"
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    shared = [fully_shard(module, mesh=mesh, reshard_after_forward=True) for module in (*blocks, model)]
    model._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t.to(device))
    for module in shared:
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
        module.unshard()  # what is first gathered in inference mode could never be trained
        module.reshard()


def _fill(model: Any, stored: StoredWeights) -> StoredWeights:
    """Read into `model` what is `stored`: of parameters the rows of this process, which are returned as stored."""
    shared = canonical_tensors(model)
    whole: dict[str, Tensor] = dict(model.named_buffers())
    rows = {name: place_of_rows(place) if name in shared else place for name, place in stored.places.items()}
    own = StoredWeights(places=rows, files=stored.files, device=next(iter(shared.values())).device)
    with torch.no_grad():
        for name in own:
            own.fill(name, held(shared[name]) if name in shared else whole[name])
    return StoredWeights(places={name: rows[name] for name in shared}, files=own.files, device=own.device)
