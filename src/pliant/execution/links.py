"""Links in a study folder that lead out of it: what is written or deleted through them would not be the study's."""

import os
from collections.abc import Iterator
from pathlib import Path

from pliant.execution.store import StoreError

_PARTS = {"records": 1, "artifacts": 3, "superseded": 2}
"""The folders of a study, and how many levels of folders pliant makes in each."""


def refuse_links(folder: Path) -> None:
    """
    Raises:
        StoreError: a folder of the study in `folder` is a link to a place outside of it.
    """
    root = folder.resolve()
    for name, levels in _PARTS.items():
        for path in _links(folder / name, levels):
            target = Path(path).resolve()
            if root not in target.parents:
                raise StoreError(
                    f"{path} is a link to {target}, outside of the study; put the files there themselves, or link the "
                    "whole study folder instead of a part"
                )


def _links(folder: Path, levels: int) -> Iterator[str]:
    """The links among `folder` and the folders below it."""
    if folder.is_symlink():
        yield str(folder)
    elif folder.is_dir():
        yield from _links_below(str(folder), levels)


def _links_below(folder: str, levels: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield entry.path
            elif levels > 1 and entry.is_dir():
                yield from _links_below(entry.path, levels - 1)
