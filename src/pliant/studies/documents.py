"""The files of a study folder beside its records: which cannot be read, and what that costs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pliant.checkpoints.hub.pins import PINS_FILE, read_pins
from pliant.execution.fsck import Problem
from pliant.execution.table import PLAN_FILE, read_plan
from pliant.execution.writing import read_text
from pliant.studies.settling import STUDY_FILE, study_of
from pliant.studies.validated import VALIDATION_FILE

RESULTS_FILE = "results.parquet"
REPORT_FILE = "report.html"


def document_problems(folder: Path) -> Iterator[Problem]:
    """What is read to plan or report the study in `folder`, and cannot be."""
    for name, read, lost in (
        (STUDY_FILE, study_of, "give `pliant run` the file that the study was made from, with --out"),
        (PLAN_FILE, read_plan, "the next run writes it anew"),
        (PINS_FILE, read_pins, "without it the next run lists the repositories anew, at today's commits"),
        (VALIDATION_FILE, _validation, "study.yaml holds what it decided"),
        (RESULTS_FILE, _results, "the next run writes it anew"),
        (REPORT_FILE, _report, "the next run, or `pliant report`, writes it anew"),
    ):
        if (folder / name).is_file() and (error := _error(read, folder)) is not None:
            what = " ".join(f"{error}".removeprefix(f"{folder / name}").lstrip(": ").split())
            yield Problem(kind="unreadable", path=name, what=f"{what}; {lost}", remedy="aside")


def _error(read: Callable[[Path], Any], folder: Path) -> Exception | None:
    try:
        read(folder)
    except PermissionError:  # told with the permissions
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        return error
    return None


def _validation(folder: Path) -> None:
    json.loads(read_text(folder / VALIDATION_FILE))["words"]


def _results(folder: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.read_metadata(folder / RESULTS_FILE)  # pyarrow's errors are ValueErrors and OSErrors


def _report(folder: Path) -> None:
    if not read_text(folder / REPORT_FILE).rstrip().endswith("</html>"):
        raise ValueError("cut short")
