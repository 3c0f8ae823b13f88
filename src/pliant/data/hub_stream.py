"""Streaming a Hub dataset through `datasets`: what can go wrong there, said in one line each."""

import difflib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from pliant.data.hub_text import HubText
from pliant.data.text_files import checked_text, no_column

_PREFERRED = ("validation", "test", "train")


class HubTextError(ValueError):
    """A Hub dataset that cannot be read as asked."""


class HubSource(Protocol):
    """What names a dataset; `str` of it stands in errors."""

    @property
    def dataset(self) -> str: ...

    @property
    def name(self) -> str | None: ...

    @property
    def revision(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextStream:
    """The commit and the split that `texts` comes from."""

    commit: str
    split: str
    texts: Iterator[str]


def stream_text(source: HubText) -> TextStream:
    """The documents that `source` asks for; the Hub is asked while they are read.

    Raises:
        HubTextError: `datasets` is not installed; no such dataset, revision, configuration, split or column; a gated
            dataset; no network; no text. Those that show only while reading are raised then.
    """
    need_datasets(source)
    with in_one_line(source):
        commit = commit_of(source)
        splits = splits_of(source, commit)
        split = source.split or next((name for name in _PREFERRED if name in splits), sorted(splits)[0])
    if split not in splits:
        raise HubTextError(f"{source}: no split {split!r}; it has {', '.join(splits)}")
    return TextStream(commit=commit, split=split, texts=_texts(source, splits[split]))


def need_datasets(source: HubSource) -> None:
    """
    Raises:
        HubTextError: the package is not installed.
    """
    if importlib.util.find_spec("datasets") is None:
        raise HubTextError(f'{source}: a Hub dataset needs the package datasets; pip install "pliant[hub]"')


def commit_of(source: HubSource) -> str:
    """The commit hash of the revision, so that all that follows reads one state of the dataset.

    Raises:
        HubTextError: no such dataset or revision, or a gated one.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(source.dataset, revision=source.revision).sha)
    except GatedRepoError as error:
        raise _gated(source) from error
    except RepositoryNotFoundError as error:
        raise HubTextError(
            f"no dataset {source.dataset} on the Hub, and no such path here{_nearest(source.dataset)}; "
            "if it is private, log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise HubTextError(f"{source}: no revision {source.revision!r}; give a branch, tag or commit of it") from error


def _nearest(dataset: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    owner, _, name = dataset.rpartition("/")
    try:
        asked = [HfApi().list_datasets(author=owner or None, limit=200), HfApi().list_datasets(search=name, limit=200)]
        found = [info.id for listing in asked for info in listing]
    except HfHubHTTPError:  # the answer to the question itself stands without it
        return ""
    near = difflib.get_close_matches(dataset, found, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def splits_of(source: HubSource, commit: str, folder: str | None = None) -> dict[str, Iterable[dict[str, Any]]]:
    """The rows of each split of its configuration, or of a `folder` of it, streamed.

    Raises:
        HubTextError: several configurations and none named, or one that it does not have.
    """
    import datasets

    names = datasets.get_dataset_config_names(source.dataset, revision=commit)
    if source.name is None and len(names) > 1 and "default" not in names:
        raise HubTextError(
            f"{source}: it has the configurations {', '.join(names)}; name one, as {source.dataset}:{names[0]}"
        )
    if source.name is not None and source.name not in names:
        near = difflib.get_close_matches(source.name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
        raise HubTextError(f"{source}: no configuration {source.name!r}; {hint}")
    return dict(datasets.load_dataset(source.dataset, source.name, data_dir=folder, revision=commit, streaming=True))


def _texts(source: HubText, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The first documents that hold more than blanks."""
    count = 0
    with in_one_line(source):
        for text in islice(_column(source, rows), source.documents):
            count += 1
            yield text
    if not count:
        raise HubTextError(f"{source}: no text in this split; name another")


def _column(source: HubText, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if source.column not in row:
            raise HubTextError(f"{source}: {no_column(source.column, row, 'dataset')}")
        if (text := checked_text(row[source.column], f"{source}, row {number}", source.column)).strip():
            yield text


@contextmanager
def in_one_line(source: HubSource, instead: str = "name local files") -> Iterator[None]:
    """What huggingface_hub and datasets raise, as one line that says what to do; `instead` of the Hub.

    Raises:
        HubTextError: in their place.
    """
    try:
        yield
    except HubTextError:
        raise
    except Exception as error:  # they raise almost anything: of httpx, fsspec, pyarrow and their own
        causes = list(_causes(error))
        names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "GatedRepoError" in names or "gated" in first:
            raise _gated(source) from error
        if names & {"OfflineModeIsEnabled", "ConnectionError", "TransportError"}:
            raise HubTextError(
                f"{source}: the Hub cannot be reached, and the text is not in pliant's cache ({first}); "
                f"connect, or {instead}"
            ) from error
        raise HubTextError(f"{source}: its text cannot be read ({first})") from error


def _gated(source: HubSource) -> HubTextError:
    return HubTextError(
        f"{source}: a gated dataset; accept its terms at huggingface.co/datasets/{source.dataset}, "
        "then log in with `hf auth login`"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
