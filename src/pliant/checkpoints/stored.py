"""The tensors of a model as its checkpoint's files hold them, read one at a time."""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.weights import StoredTensor

FLOATING = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = FLOATING | {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}
"""The dtypes read here, by their names in safetensors files."""


AT_ONCE = 1 << 19
"""Numbers that are converted at once: with their fp32 form they fit into a core's cache."""


@final
class OpenFile:
    """A file that stays open while anything may read from it, so that its folder can be deleted meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def read(self, place: StoredTensor) -> Tensor:
        """The tensor at `place` in the dtype in which it is stored.

        Raises:
            CheckpointError: the file ends before it.
        """
        tensor = torch.empty(place.shape, dtype=DTYPES[place.dtype])
        self.read_into(tensor, place)
        return tensor

    def read_into(self, tensor: Tensor, place: StoredTensor) -> None:
        """Fill `tensor`, contiguous on CPU and of the dtype in which it is stored, with no copy in between.

        Raises:
            CheckpointError: the file ends before it.
        """
        self._file.seek(place.start)
        self._read_next(tensor)

    def read_converted(self, tensor: Tensor, place: StoredTensor) -> None:
        """Fill `tensor`, contiguous, with the numbers at `place` in its own dtype, some at a time: what is stored is
        never in memory whole, and is converted while it is in the cache.

        Raises:
            CheckpointError: the file ends before it.
        """
        self._file.seek(place.start)
        flat = tensor.detach().view(-1)
        some = torch.empty(min(AT_ONCE, flat.numel()), dtype=DTYPES[place.dtype])
        for begin in range(0, flat.numel(), AT_ONCE):
            part = some[: flat.numel() - begin]
            self._read_next(part)
            flat[begin : begin + AT_ONCE].copy_(part)

    def _read_next(self, tensor: Tensor) -> None:
        rest = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
        while rest:  # one call reads at most 2 GB
            count = self._file.readinto(rest)
            if not count:
                raise CheckpointError(f"{self._path} was cut short while it was read; fetch it again")
            rest = rest[count:]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredWeights(Mapping[str, Tensor]):
    """A model's tensors by its names for them, each read from its file whenever it is asked for; floats as fp32.

    It holds no weights, only the open `files`. Each look-up costs a read of that tensor: look up once, use often.
    """

    places: Mapping[str, StoredTensor]
    files: Mapping[Path, OpenFile]
    device: torch.device | str = "cpu"

    def __getitem__(self, name: str) -> Tensor:
        place = self.places[name]
        tensor = self.files[place.file].read(place)
        return tensor.to(self.device, torch.float32 if place.dtype in FLOATING else None)

    def fill(self, name: str, tensor: Tensor) -> None:
        """Put the tensor called `name` into `tensor`, converted to its dtype."""
        place = self.places[name]
        if tensor.dtype == DTYPES[place.dtype] and tensor.device.type == "cpu":
            self.files[place.file].read_into(tensor, place)
        else:
            self.files[place.file].read_converted(tensor, place)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def open_stored(places: Mapping[str, StoredTensor]) -> StoredWeights:
    """Open the files in which `places`, by the model's names, lie."""
    return StoredWeights(places=places, files={path: OpenFile(path) for path in _files(places.values())})


def _files(places: Iterable[StoredTensor]) -> set[Path]:
    return {place.file for place in places}
