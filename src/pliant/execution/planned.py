"""`plan.json`: the cells of a study as its reports need them, what they have in common written once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pliant.execution.label_kinds import LABELS, is_plain_label
from pliant.execution.labels import Joined, Labels, parts_of
from pliant.execution.mirrors import shown
from pliant.execution.store import StoreError
from pliant.execution.writing import read_text, write_atomically
from pliant.records.outside import clipped, is_plain_name, is_shown_name, parse_json

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell as planned: its id, the labels of its rows, and the labels of each evaluation asked of it."""

    cell: str
    labels: Labels
    evaluations: Mapping[str, Labels]


def write_plan(folder: Path, study: str, cells: Sequence[PlannedCell], notes: Sequence[str] = ()) -> None:
    """Write `plan.json`: derived from the study, rewritten by every run, read by every report.

    A cell is [id, the places of its labels' parts in `parts`, the place of its evaluations in `evaluations`].
    `notes` are what a reader must know of the data.
    """
    parts, evaluations = _Once(), _Once()
    listed = [[c.cell, [parts.place(p) for p in parts_of(c.labels)], evaluations.place(c.evaluations)] for c in cells]
    plan = {
        "study": study,
        "notes": list(notes),
        "parts": parts.kept,
        "evaluations": evaluations.kept,
        "cells": listed,
    }
    write_atomically(folder / PLAN_FILE, json.dumps(plan, separators=(",", ":")) + "\n")


@dataclass(slots=True)
class _Once:
    """Mappings, each kept once: `places` knows those that were met by identity, `known` by content."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    met: list[Mapping[str, Any]] = field(default_factory=list)  # alive, so that their ids are theirs
    places: dict[int, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)

    def place(self, mapping: Mapping[str, Any]) -> int:
        if id(mapping) not in self.places:
            self.met.append(mapping)
            self.places[id(mapping)] = self._place(dict(mapping))
        return self.places[id(mapping)]

    def _place(self, content: dict[str, Any]) -> int:
        place = self.known.setdefault(json.dumps(content), len(self.kept))
        if place == len(self.kept):
            self.kept.append(content)
        return place


def read_plan(folder: Path) -> tuple[str, list[PlannedCell]]:
    """The name of the study in `folder` and its planned cells.

    Raises:
        StoreError: `folder` is not a study folder.
    """
    study, cells, _ = read_whole_plan(folder)
    return study, cells


def read_whole_plan(folder: Path) -> tuple[str, list[PlannedCell], tuple[str, ...]]:
    """The same, and the notes.

    Raises:
        StoreError: `folder` is not a study folder.
    """
    path = folder / PLAN_FILE
    if not path.is_file():
        raise StoreError(
            f"{shown(folder)} is not a study folder: it has no {PLAN_FILE}; give a folder that `pliant run` made"
        )
    try:
        return parse_plan(read_text(path))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); `pliant run` on the study writes it anew") from error


def parse_plan(text: str | bytes) -> tuple[str, list[PlannedCell], tuple[str, ...]]:
    """The study's name, cells and notes of a `plan.json`.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is not what `write_plan` writes.
    """
    plan = parse_json(text)
    if not is_shown_name(plan["study"]):
        raise ValueError(f"the study is called {clipped(plan['study'])}, expected a line of text")
    if "parts" in plan:
        cells = _cells(plan)
        labels = [*plan["parts"], *(one for asked in plan["evaluations"] for one in asked.values())]
        asked_names = {name for asked in plan["evaluations"] for name in asked}
    else:  # as the first releases wrote it
        cells = [PlannedCell(**cell) for cell in plan["cells"]]
        labels = [one for cell in cells for one in (cell.labels, *cell.evaluations.values())]
        asked_names = {name for cell in cells for name in cell.evaluations}
    _check_names(cell.cell for cell in cells)
    _check_names(asked_names)
    _check_labels(labels)
    return plan["study"], cells, tuple(str(note) for note in plan.get("notes", ()))


def _check_names(names: Iterable[object]) -> None:
    for name in names:
        if not is_plain_name(name):
            raise ValueError(f"a cell or evaluation is called {clipped(name)}, expected the name of a file")


def _check_labels(several: Iterable[Mapping[str, object]]) -> None:
    for labels in several:
        for label, value in labels.items():
            if not LABELS.get(label, is_plain_label)(value):
                raise ValueError(f"{label} is {clipped(value)}")


def _cells(plan: Mapping[str, Any]) -> list[PlannedCell]:
    parts, evaluations = plan["parts"], plan["evaluations"]
    joined: dict[tuple[int, ...], tuple[dict[str, Any], ...]] = {}

    def labels(places: Sequence[int]) -> Joined:
        key = tuple(places)
        if key not in joined:
            joined[key] = tuple(parts[place] for place in key)
        return Joined(joined[key])

    return [
        PlannedCell(cell=cell, labels=labels(places), evaluations=evaluations[asked])
        for cell, places, asked in plan["cells"]
    ]
