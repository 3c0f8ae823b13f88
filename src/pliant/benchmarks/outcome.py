"""A benchmark that was run: its row and what it was measured on; a file each, so that what is finished is kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pliant.benchmarks.machine import Machine
from pliant.benchmarks.result import Figure, Row, Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`gemm_peak` is floating-point operations a second by dtype, in the same process; `load` the machine's load
    average before, `seconds` how long it took by the clock, `date` the day it began."""

    name: str
    scale: Scale
    row: Row
    gemm_peak: dict[str, float]
    machine: Machine
    load: float
    seconds: float
    date: str

    def write(self, folder: Path) -> None:
        file = _file(folder, self.name, self.scale)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.replace(file)


def read_outcome(folder: Path, name: str, scale: Scale) -> Outcome | None:
    """The one kept in `folder`, or None.

    Raises:
        ValueError: the file is not one that `pliant bench` wrote.
    """
    file = _file(folder, name, scale)
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        machine = content["machine"] | {"instructions": tuple(content["machine"]["instructions"])}
        return Outcome(**(content | {"row": row_from(content["row"]), "machine": Machine(**machine)}))
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} is not an outcome of this version of `pliant bench`: delete it ({error})") from error


def row_from(content: dict[str, Any]) -> Row:
    """The row that `dataclasses.asdict` and JSON made `content` of."""
    figures = tuple(Figure(**figure) for figure in content["figures"])
    return Row(**(content | {"figures": figures, "notes": tuple(content["notes"])}))


def _file(folder: Path, name: str, scale: Scale) -> Path:
    return folder / (f"{name}.json" if scale == "whole" else f"{name}.{scale}.json")
