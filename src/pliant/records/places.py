"""Where pliant keeps what can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$PLIANT_CACHE`, else `~/.cache/pliant`: packed streams, fetched text, fingerprints; shared by studies, safe to
    delete."""
    return Path(os.environ.get("PLIANT_CACHE") or Path.home() / ".cache" / "pliant")
