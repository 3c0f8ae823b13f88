"""How far a download is, told to a function instead of drawn on the terminal."""

from collections.abc import Callable
from typing import Any

from huggingface_hub.utils import tqdm

Progress = Callable[[int, int], None]


def meter(progress: Progress | None, before: int, total: int) -> type:
    """A bar for the client that draws nothing: `progress(bytes there, total)`, of which `before` were there already."""

    class Meter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, initial: int = 0, **settings: Any) -> None:
            super().__init__(*args, initial=initial, **(settings | {"disable": True}))
            self.there = before + initial

        def update(self, count: float | None = 1) -> None:
            self.there += int(count or 0)
            if progress is not None:
                progress(self.there, total)

        def update_transfer(self, count: int) -> None:
            """Bytes on the wire, which hf_xet reports apart from those on disk: not counted twice."""

    return Meter
