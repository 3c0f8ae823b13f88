"""One revision of a Hub repository as its file metadata describe it: what is there, without downloading it."""

import hashlib
import re
from dataclasses import dataclass

from pliant.checkpoints.about import CheckpointError
from pliant.records.outside import clipped, is_plain_name

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
INDEX = "model.safetensors.index.json"


def is_weights(path: str) -> bool:
    """Whether a file of that name holds weights, pickled ones included."""
    return bool(_WEIGHTS.fullmatch(path) or _PICKLED.fullmatch(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file at the top of a revision. `blob` is its git hash, `sha256` that of its content, known of large files only.

    Raises:
        CheckpointError: the path, or a hash, is none that a file of that place has, and would lead elsewhere on disk.
    """

    path: str
    size: int
    blob: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name in (self.path, self.blob, *([] if self.sha256 is None else [self.sha256])):
            if not is_plain_name(name):
                raise CheckpointError(
                    f"a repository lists a file as {clipped(name)}, which is no name of a file at its top; "
                    "do not use it before you know where it comes from"
                )
        if self.size < 0:
            raise CheckpointError(f"a repository lists {self.path} with a size of {self.size:,}; expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRevision:
    """A branch or tag of a repository, pinned to the commit it pointed to when it was listed.

    Raises:
        CheckpointError: names that none of the three can have, and that would lead elsewhere on disk.
    """

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    def __post_init__(self) -> None:
        parts = self.revision.split("/")  # refs/pr/1
        for name, is_right in (
            (self.repo, _REPOSITORY.fullmatch(self.repo) and ".." not in self.repo),
            (self.revision, all(map(is_plain_name, parts)) and not any(".." in part for part in parts)),
            (self.commit, is_plain_name(self.commit)),
        ):
            if not is_right:
                raise CheckpointError(
                    f"{clipped(name)} is no name of a Hub repository, revision or commit; "
                    "do not use it before you know where it comes from"
                )

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
