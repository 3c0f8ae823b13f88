"""The rows of a tensor that a process holds, where several processes share a model (FSDP2: torch's DTensor)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch.distributed as dist
from torch import Tensor

from pliant.checkpoints.stored import StoredWeights
from pliant.checkpoints.weights import StoredTensor


def is_sharded(model: Any) -> bool:
    """Whether `model` is shared by several processes."""
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


def held(tensor: Tensor) -> Tensor:
    """The rows of `tensor` that this process holds, as a view; the whole of a tensor that is not shared."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def own_rows(whole: Tensor, like: Tensor) -> Tensor:
    """The rows of `whole` that this process holds of `like`, a tensor of its shape."""
    return whole[shard_rows(len(whole))] if hasattr(like, "to_local") else whole


def shard_rows(rows: int) -> slice:
    """Those that this process holds of a tensor of so many `rows`: the r-th of equal parts of ceil(rows / processes),
    the last of which are shorter or empty, as `torch.chunk` and FSDP2 have it."""
    part = -(-rows // dist.get_world_size())
    start = min(dist.get_rank() * part, rows)
    return slice(start, min(start + part, rows))


def place_of_rows(place: StoredTensor) -> StoredTensor:
    """Where the rows of the tensor at `place` that this process holds lie: next to one another."""
    rows = shard_rows(place.shape[0])
    size = (place.stop - place.start) // place.shape[0]
    return replace(
        place,
        shape=(rows.stop - rows.start, *place.shape[1:]),
        start=place.start + rows.start * size,
        stop=place.start + rows.stop * size,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardedWeights(Mapping[str, Tensor]):
    """The tensors of a shared model as its checkpoint's files hold them: each process reads its `rows` when asked.

    `like` are the model's own tensors, shared in the same way.
    """

    rows: StoredWeights
    like: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        from torch.distributed.tensor import DTensor

        like: Any = self.like[name]
        return DTensor.from_local(
            self.rows[name], like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.like)

    def __len__(self) -> int:
        return len(self.like)
