"""A study folder that a release wrote in November 2026, before records had checksums; it is opened for ever."""

import shutil
from pathlib import Path

SCHEMA_1 = Path(__file__).parent / "assets" / "study-schema-1"


def copy_of_schema_1(place: Path) -> Path:
    """A copy in `place` that may be changed: two budgets, two seeds, noise and two rates of fine-tuning."""
    return shutil.copytree(SCHEMA_1, place / "study")


def records(folder: Path) -> list[Path]:
    """Its record files, in order."""
    return sorted(path for path in (folder / "records").rglob("*.json") if path.name != "run.json")
