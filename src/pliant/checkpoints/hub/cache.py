"""Weights from the Hub on this disk, for as long as they are needed: fetched, checked, used, released."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.utils import WeakFileLock

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.hub.claims import Claims, at_once
from pliant.checkpoints.hub.errors import one_line
from pliant.checkpoints.hub.local import cached_repos, cached_revisions, holds, hops, repo_folder, user_cache
from pliant.checkpoints.hub.progress import Progress, meter
from pliant.checkpoints.hub.revision import HubFile, HubRevision, is_weights

_DESCRIBING = frozenset({".json", ".txt", ".model", ".jinja"})  # config, index, tokenizer, chat template, pliant.json
_CODE = frozenset({".py"})
_LARGEST = 100_000_000  # bytes; the largest tokenizer.json are some 35 MB
_GB = 1e9


@dataclass(frozen=True, slots=True)
class DownloadCache:
    """pliant's own Hugging Face cache at `root`, apart from the user's, which is read and never changed.

    Files that the user's cache has are linked to instead of fetched. Processes may share a root: weights go only
    when no living process uses them.

    Raises:
        CheckpointError: `root` is the user's own cache.
    """

    root: Path
    _claims: Claims = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        root = Path(os.path.abspath(self.root))
        if root.resolve() == user_cache().resolve():
            raise CheckpointError(
                f"{root} is your own Hugging Face cache, where pliant deletes nothing; point PLIANT_CACHE elsewhere"
            )
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "_claims", Claims(folder=root / ".locks" / "in-use"))

    def describe(self, revision: HubRevision, *, remote_code: bool = False) -> Path:
        """The folder of `revision` with its small files: config, index, tokenizer; code only where it is asked for.

        Raises:
            CheckpointError: no config.json; no access, no answer, or other content than the metadata promise.
        """
        if revision.file("config.json") is None:
            raise CheckpointError(f"{revision.name} has no config.json; expected a checkpoint that transformers opens")
        suffixes = _DESCRIBING | _CODE if remote_code else _DESCRIBING
        for file in revision.files:
            if Path(file.path).suffix in suffixes and file.size <= _LARGEST:
                self._place(revision, file)
        self._name(revision)
        return self.folder(revision)

    def fetch(
        self,
        revision: HubRevision,
        *,
        allow_pickle: bool = False,
        remote_code: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """The folder of `revision` with its weights, each file checked against size and hash of the metadata.

        The weights are in use until they are released. `progress` is called with bytes there and bytes in all.

        Raises:
            CheckpointError: weights pickled or none; disk too full; no access, no answer, or other content than
                the metadata promise, twice.
        """
        _refuse(revision, allow_pickle)
        self._claims.take(_claim(revision))
        try:
            folder = self.describe(revision, remote_code=remote_code)
            self._require_room(revision)
            done = 0
            for file in revision.weights:
                self._place(revision, file, meter(progress, done, revision.weight_bytes))
                done += file.size
                if progress is not None:
                    progress(done, revision.weight_bytes)
        except BaseException:
            self._claims.drop(_claim(revision))
            raise
        return folder

    def release(self, revision: HubRevision) -> None:
        """Delete the weights of `revision` that pliant fetched, unless another process or revision uses them.

        Its small files stay, and so does everything in the user's own cache.
        """
        self._claims.drop(_claim(revision))
        if self._claims.held(_claim(revision)):
            return
        for link in self.folder(revision).glob("*"):
            if is_weights(link.name):
                self._unlink(link)

    def usage(self) -> int:
        """Bytes that weights take below the root, unfinished downloads included, small files not."""
        blobs = (*self.root.glob("models--*/blobs/*"), *self.root.glob("blobs/*/*"))
        links = list(self.root.glob("models--*/snapshots/*/*"))  # or files, where the system has no links
        small = {path for link in links if not is_weights(link.name) for path in (link, *hops(link))}
        return sum(_size(path) for path in (*blobs, *links) if path not in small and not path.is_symlink())

    def takes(self, revision: HubRevision) -> int:
        """Bytes that the weights of `revision` take below the root once they are fetched: what the user has, none."""
        return sum(file.size for file in revision.weights if not _of_user(revision, file).exists())

    def has(self, revision: HubRevision) -> bool:
        """Whether all weights of `revision` are on this disk, here or in the user's own cache."""
        here = self.folder(revision)
        return all((here / file.path).exists() or _of_user(revision, file).exists() for file in revision.weights)

    def present(self, revision: HubRevision) -> int:
        """Bytes of those that are below the root already."""
        links = [self.folder(revision) / file.path for file in revision.weights]
        return sum(_size(link) for link in links if link.exists() and self.root in link.resolve().parents)

    def sweep(self, keep: Collection[HubRevision] = ()) -> int:
        """Delete what killed processes left: unfinished downloads, and weights that nothing living uses.

        Weights of the revisions in `keep` stay, so that a resumed study finds them. Returns the bytes freed.
        """
        before, kept = self.usage(), {(revision.repo, revision.commit) for revision in keep}
        for repo in cached_repos([self.root]):
            for revision in cached_revisions(repo, [self.root]):
                if (repo, revision.commit) not in kept and not self._claims.held(_claim(revision)):
                    self.release(revision)
            for blob in set(repo_folder(self.root, repo).glob("blobs/*")) - self._targets():
                self._collect(blob)
        return before - self.usage()

    def folder(self, revision: HubRevision) -> Path:
        """Where `revision` is, or will be once it is fetched."""
        return repo_folder(self.root, revision.repo) / "snapshots" / revision.commit

    def _place(self, revision: HubRevision, file: HubFile, bar: type | None = None) -> None:
        """Have `file` in the folder of `revision`: it is there, or the user has it, or it is fetched."""
        link = self.folder(revision) / file.path
        if holds(link, file) or self._borrow(revision, file, link):
            return
        for _ in range(2):
            self._discard(link)
            with one_line(revision.repo, revision.revision):
                hf_hub_download(
                    revision.repo,
                    file.path,
                    revision=revision.commit,
                    cache_dir=self.root,
                    tqdm_class=bar or meter(None, 0, 0),
                    library_name="pliant",
                )
            if holds(link, file):
                return
        self._discard(link)
        raise CheckpointError(
            f"{revision.name}: what arrived as {file.path} is not what was published (size or hash differ, twice); "
            "try again later, or report it to the owner of the repository"
        )

    def _borrow(self, revision: HubRevision, file: HubFile, link: Path) -> bool:
        """Link to the user's copy of `file`, if there is one and it is sound."""
        blob = _of_user(revision, file)
        if not holds(blob, file):
            return False
        self._discard(link)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
        return True

    def _require_room(self, revision: HubRevision) -> None:
        folder = self.folder(revision)
        absent = [f for f in revision.weights if not (folder / f.path).exists() and not _of_user(revision, f).exists()]
        needed, free = sum(file.size for file in absent), shutil.disk_usage(folder).free
        if needed > free:
            raise CheckpointError(
                f"{revision.name} needs {needed / _GB:.3g} GB and {free / _GB:.3g} GB are free at {self.root}; "
                "free some, or point PLIANT_CACHE to a larger disk"
            )

    def _name(self, revision: HubRevision) -> None:
        """Note the revision's name, which a download by commit does not: offline listings go by it."""
        if revision.revision != revision.commit:
            ref = repo_folder(self.root, revision.repo) / "refs" / revision.revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(revision.commit)

    def _unlink(self, path: Path) -> None:
        """Remove `path` and then what it led to below the root, unless something else leads there."""
        following = next(hops(path), None)
        if following is None or self.root not in following.parents:
            path.unlink(missing_ok=True)
            return
        with WeakFileLock(self._lock(following)):
            path.unlink(missing_ok=True)
            if following not in self._targets():
                self._unlink(following)

    def _discard(self, link: Path) -> None:
        """Remove `link` and what it leads to below the root, whoever else leads there: its content is wrong."""
        for path in [link, *hops(link)]:
            if self.root in path.parents:
                path.unlink(missing_ok=True)

    def _collect(self, blob: Path) -> None:
        """Remove a blob that nothing leads to, unless a living process is just about to finish or link it."""
        with at_once(self._lock(blob)) as idle:
            if idle and blob not in self._targets():
                blob.unlink(missing_ok=True)

    def _targets(self) -> set[Path]:
        """What is linked to, by a snapshot or by a blob that stands for one shared between repositories."""
        links = (*self.root.glob("models--*/snapshots/*/*"), *self.root.glob("models--*/blobs/*"))
        return {path for link in links for path in islice(hops(link), 1)}

    def _lock(self, blob: Path) -> Path:
        """The lock that the client holds while it downloads or links `blob`."""
        path = self.root / ".locks" / blob.parent.parent.name / f"{blob.name.split('.')[0]}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _of_user(revision: HubRevision, file: HubFile) -> Path:
    return repo_folder(user_cache(), revision.repo) / "blobs" / (file.sha256 or file.blob)


def _claim(revision: HubRevision) -> str:
    return f"{repo_folder(Path(), revision.repo)}/{revision.commit}"


def _refuse(revision: HubRevision, allow_pickle: bool) -> None:
    if not revision.weights:
        raise CheckpointError(f"{revision.name} has no weights; expected model*.safetensors, choose another revision")
    if not revision.safetensors and not allow_pickle:
        raise CheckpointError(
            f"{revision.name} holds pickled weights, which can run code when opened; convert them to safetensors, "
            "or set allow_pickle: true if you trust their source"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a download that another thread has just finished and renamed
        return 0
