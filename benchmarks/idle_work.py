"""Work that costs nothing, for what an engine costs by itself; workers import it."""

import os
import time
from pathlib import Path

from pliant.execution.engine import Progress


def nothing(payload: None, progress: Progress) -> None:
    pass


def gather_or_sleep(payload: tuple[str, int] | float, progress: Progress) -> None:
    """Sleep so many seconds; or wait, in the folder given, until as many processes as given do."""
    if isinstance(payload, float):
        time.sleep(payload)
        return
    folder, workers = Path(payload[0]), payload[1]
    (folder / str(os.getpid())).touch()
    while sum(1 for _ in folder.iterdir()) < workers:
        time.sleep(0.01)
