"""`plan.json`: the cells of a study as its reports need them, what they have in common written once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pliant.execution.labels import Joined, Labels, parts_of
from pliant.execution.store import StoreError, write_atomically

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
        raise StoreError(f"{folder} is not a study folder: it has no {PLAN_FILE}; give a folder that `pliant run` made")
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        cells = _cells(plan) if "parts" in plan else [PlannedCell(**cell) for cell in plan["cells"]]  # before 0.2
        return plan["study"], cells, tuple(plan.get("notes", ()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"{path} cannot be read ({error}); `pliant run` on the study writes it anew") from error


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
