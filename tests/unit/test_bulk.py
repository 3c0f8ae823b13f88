"""What is done once for many cells gives what was done for each: keys, plans, columns, tests of budgets, and pages."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pliant.execution import results
from pliant.execution.labels import Joined
from pliant.execution.planned import PlannedCell, read_plan, write_plan
from pliant.execution.results import write_parquet
from pliant.execution.store import Store
from pliant.records.floats import Floats
from pliant.records.identity import digest
from pliant.report import figure, write_report
from pliant.statistics.lowest import above_lowest
from pliant.statistics.minimum import candidate_minima
from synthetic_study import Plan, write_study
from tiny_studies import cells, tiny

EVERY_KIND: list[dict[str, Any]] = [
    {"noise": {"strengths": [0.05, 0.1], "draws": 2, "blocks": 2}},
    {"quantise": {"bits": [4]}},
    {"prune": {"shares": [0.5], "criterion": "wanda"}},
    {"interpolate": {"with": "first", "weights": [0.5]}},
    {"fine_tune": {"task": "skip", "learning_rates": [0.01], "steps": 4, "batch": 4, "seeds": [0, 1]}},
    {"fine_tune": {"task": "skip", "learning_rates": [0.01], "steps": 4, "batch": 4, "regularise": {"replay": [0.5]}}},
]


def test_a_key_is_the_digest_of_the_whole_identity(tmp_path: Path):
    found = cells(tiny({"modifications": EVERY_KIND}), tmp_path / "study")
    assert len(found) == 21  # one of the two checkpoints is its own partner
    assert {cell.key for cell in found.values()} == {digest(cell.identity) for cell in found.values()}


def test_a_plan_says_once_what_cells_share(tmp_path: Path):
    checkpoint, evaluations = {"checkpoint": "1K", "tokens": 1024}, {"e": {"evaluation": "loss"}}
    planned = [
        PlannedCell(cell=f"cell-{n}", labels=Joined((dict(checkpoint), {"seed": n % 2})), evaluations=dict(evaluations))
        for n in range(6)
    ]
    write_plan(tmp_path, "mine", planned)
    assert read_plan(tmp_path) == ("mine", planned)
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (written["parts"], written["evaluations"]) == ([checkpoint, {"seed": 0}, {"seed": 1}], [evaluations])


def test_a_plan_of_an_older_release_opens(tmp_path: Path):
    older = {"cell": "a", "labels": {"tokens": 1}, "evaluations": {"e": {"evaluation": "loss"}}}
    (tmp_path / "plan.json").write_text(json.dumps({"study": "mine", "notes": [], "cells": [older]}))
    assert read_plan(tmp_path) == ("mine", [PlannedCell(**older)])


def test_joined_labels_read_like_one_mapping():
    joined = Joined(({"a": 1, "b": 2}, {"b": 3}))
    assert joined == {"a": 1, "b": 3}
    assert (list(joined), len(joined), joined.get("c")) == (["a", "b"], 2, None)


def test_floats_read_like_a_tuple():
    values = (0.1, math.inf, -5e-324)
    floats = Floats(values)
    assert floats == values
    assert (tuple(floats), floats[1], floats[1:], len(floats)) == (values, math.inf, values[1:], 3)
    assert (hash(floats), repr(floats), bool(Floats(()))) == (hash(values), repr(values), False)
    assert np.asarray(floats).tolist() == list(values)


def test_parquet_in_pieces_is_what_pyarrow_makes_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = write_study(tmp_path / "study", Plan(seeds=(0,), gammas=(0.1,), rates=(0.01, 0.1)))
    monkeypatch.setattr(results, "AT_ONCE", 7)
    found = pyarrow.parquet.read_table(write_parquet(table, tmp_path / "found.parquet"))
    names = sorted({name for row in table.rows for name in row})
    plain = [{n: list(v) if isinstance(v, (tuple, Floats)) else v for n, v in row.items()} for row in table.rows]
    whole = pyarrow.table({name: [row.get(name) for row in plain] for name in names})
    assert found.schema.equals(whole.schema)
    assert repr(found.to_pydict()) == repr(whole.to_pydict())  # repr: NaN equals nothing


def test_rows_are_found_by_place_as_by_iteration(tmp_path: Path):
    rows = write_study(tmp_path / "study", Plan(seeds=(0,), rates=(0.01,))).rows
    assert repr([rows[place] for place in range(len(rows))]) == repr(list(rows))
    assert repr((rows[-1], rows[1:3])) == repr((list(rows)[-1], tuple(list(rows)[1:3])))
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_a_listing_names_what_the_store_has(tmp_path: Path):
    folder = tmp_path / "study"
    write_study(folder, Plan(seeds=(0,), rates=(0.01,)))
    store = Store(folder)
    store.write_run("a", {"error": ""})
    planned = read_plan(folder)[1]
    assert all(store.listing()[cell.cell] == set(cell.evaluations) for cell in planned)
    assert store.listing()["a"] == frozenset()
    assert len(store.listing()) == len(planned) + 1


@pytest.mark.parametrize("groups", [0, 10])
def test_budgets_tested_together_are_those_tested_one_by_one(groups: int):
    random = np.random.default_rng(3)
    bend = 0.2 * (np.arange(12) - 7.0) ** 2 / 12
    rows = bend + 0.2 * random.normal(size=(3, 12))
    text = bend + 0.06 * random.normal(size=(groups, 12)) if groups else None
    single = [k for k in range(12) if above_lowest(rows, text, k).at_least() <= 0 or k == rows.mean(axis=0).argmin()]
    assert np.flatnonzero(candidate_minima(rows, text)).tolist() == single
    assert 0 < len(single) < 12


def test_a_page_that_would_be_too_large_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = write_study(tmp_path / "study", Plan(seeds=(0, 1)))
    whole = write_report([table], tmp_path / "whole.html", title="t").read_text(encoding="utf-8")
    for name, value in (("MOST_READINGS", 200), ("MOST_LINES", 5)):
        monkeypatch.setattr(figure, name, value)
    monkeypatch.setattr("pliant.report.sections.MOST_POINTS", 100)
    page = write_report([table], tmp_path / "page.html", title="t").read_text(encoding="utf-8")
    data, all_data = _data(page), _data(whole)
    assert len(data["readings"]["value"]) <= 200 < len(all_data["readings"]["value"])
    assert (data["truncated"], all_data["truncated"]) == (True, False)
    loss = next(f for f in data["figures"].values() if f["title"].startswith("Loss after fine-tuning"))
    assert [t["role"] for t in loss["traces"]] == ["mean"] * 6  # the base, and five of thirteen rates
    for words in ("means over its runs drawn", "lines are left out of figures of more than 5", "results.parquet alone"):
        assert words in page
        assert words not in whole


def _data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])
