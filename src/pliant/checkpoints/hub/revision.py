"""One revision of a Hub repository as its file metadata describe it: what is there, without downloading it."""

import hashlib
import re
from dataclasses import dataclass

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
INDEX = "model.safetensors.index.json"


def is_weights(path: str) -> bool:
    """Whether a file of that name holds weights, pickled ones included."""
    return bool(_WEIGHTS.fullmatch(path) or _PICKLED.fullmatch(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a revision. `blob` is its git hash; `sha256` that of its content, known for large files only."""

    path: str
    size: int
    blob: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRevision:
    """A branch or tag of a repository, pinned to the commit it pointed to when it was listed."""

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def safetensors(self) -> tuple[HubFile, ...]:
        """The weight files that hold no code."""
        return tuple(file for file in self.files if _WEIGHTS.fullmatch(file.path))

    @property
    def pickled(self) -> tuple[HubFile, ...]:
        """The pickled weight files, which can run code when opened."""
        return tuple(file for file in self.files if _PICKLED.fullmatch(file.path))

    @property
    def weights(self) -> tuple[HubFile, ...]:
        """The files to fetch for the weights: safetensors where there are any."""
        return self.safetensors or self.pickled

    @property
    def name(self) -> str:
        """`repo@revision`, as it is written on the command line."""
        return f"{self.repo}@{self.revision}"

    @property
    def weight_bytes(self) -> int:
        return sum(file.size for file in self.weights)

    def file(self, path: str) -> HubFile | None:
        """The file at `path`, if the revision has it."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def fingerprint(self) -> str:
        """Names the content of the weight files: SHA-256 over their own hashes in order of path."""
        content = "\n".join(f"{file.path} {file.sha256 or file.blob}" for file in self.weights)
        return "files:" + hashlib.sha256(content.encode()).hexdigest()
