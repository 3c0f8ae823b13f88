"""Losses of trajectories with different tokenizers: each in bits per byte by its own bytes a token."""

import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from pliant.execution.table import Table
from pliant.report.forecasts import noise_curves
from pliant.report.html import render
from pliant.report.study import open_study
from pliant.report.summary import StudySummary, Summary, summarise
from pliant.report.terminal import show
from pliant.report.unit import strength_words, unit_of
from pliant.statistics import reading
from synthetic_study import BUDGETS, Plan, write_study

SMALL = Plan(
    seeds=(0, 1),
    budgets=BUDGETS[:4],
    gammas=(0.2,),
    tasks=("python",),
    rates=(0.01, 0.02, 0.04),
    draws=2,
    bytes_per_token=4.0,
)
FACTOR = {"four": 1 / (4 * math.log(2)), "one": 1 / math.log(2)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Table, Table]:
    """A study of tokens of four bytes, the same of one byte, and both as the trajectories of one study."""
    place = tmp_path_factory.mktemp("units")
    four = write_study(place / "four", replace(SMALL, trajectory="four"))
    one = write_study(place / "one", replace(SMALL, trajectory="one", bytes_per_token=1.0))
    return four, one, replace(four, rows=(*four.rows, *one.rows))


@pytest.fixture(scope="module")
def summaries(tables: tuple[Table, Table, Table]) -> tuple[StudySummary, ...]:
    return summarise(tables).studies


def test_each_trajectory_has_its_own_factor(summaries: tuple[StudySummary, ...]):
    unit = summaries[2].unit
    assert unit.name == "bits/byte"
    assert math.isnan(unit.factor)
    assert {name: unit.of(name).factor for name in FACTOR} == pytest.approx(FACTOR)


def test_one_tokenizer_has_one_factor_and_none_of_its_own(summaries: tuple[StudySummary, ...]):
    unit = summaries[0].unit
    assert (unit.factor, dict(unit.factors)) == (pytest.approx(FACTOR["four"]), {})
    assert unit.of("four").factor == unit.factor


def test_nats_stay_where_one_tokenizer_is_not_known():
    def row(trajectory: str, size: float | None) -> Any:
        return reading(
            {"study": "s", "trajectory": trajectory, "evaluation": "pretraining-loss", "bytes_per_token": size}
        )

    assert unit_of([row("a", 4.0), row("b", None)]).name == "nats/token"
    assert unit_of([row("a", 4.0), row("a", 1.0)]).name == "nats/token"
    assert unit_of([]).name == "nats/token"
    assert unit_of([row("a", 4.0), row("b", 1.0)]).name == "bits/byte"


def test_verdicts_are_those_of_the_trajectories_alone(summaries: tuple[StudySummary, ...]):
    """The margin stays in nats per token of each: a trajectory is judged as if the other were not there."""
    four, one, both = summaries
    together, alone = both.findings, [*four.findings, *one.findings]
    numbers = {(f.curve, f.judgement.verdict, f.judgement.margin, f.minimum.rise.value) for f in together}
    assert numbers == {(f.curve, f.judgement.verdict, f.judgement.margin, f.minimum.rise.value) for f in alone}


def test_terminal_and_advice_say_each_in_its_own_unit(summaries: tuple[StudySummary, ...]):
    found = summaries[2]
    screen = Console(width=200, record=True, file=io.StringIO())
    show(Summary(studies=(found,)), screen)
    text = screen.export_text()
    assert "bits/byte: 0.0036 in four, 0.014 in one" in text
    assert "nan" not in text
    for finding in (f for f in found.findings if f.modification == "noise"):
        shown = finding.minimum.rise.value * FACTOR[finding.trajectory]
        assert f"{shown:+.3f}".replace("-", "−") in text
    for advice in found.advice:
        stated = re.search(r"[≥≤] ([+−][0-9.]+) bits/byte", advice.words)
        name = "four" if "(four)" in advice.words else "one"
        if stated:
            nats = advice.at_least if advice.verdict == "worse" else advice.at_most
            assert float(stated[1].replace("−", "-")) == pytest.approx(nats * FACTOR[name], abs=0.0006)


def test_the_page_scales_every_trace_by_its_trajectory(tables: tuple[Table, Table, Table]):
    page = render([tables[2]], title="x")
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    figures = json.loads(embedded[1])["figures"]
    base = next(f for f in figures.values() if f["title"] == "Base loss")
    assert {t["group"].split(",")[0]: t["factor"] for t in base["traces"]} == pytest.approx(FACTOR)
    for figure in figures.values():
        if figure["unit"]:
            name = next((n for n in FACTOR if f"({n}" in figure["title"]), None)
            assert figure["factor"] == pytest.approx(FACTOR[name] if name else figure["traces"][0]["factor"])
    assert 'data-factor="nan"' not in page


def test_curves_to_forecast_know_their_trajectory(tables: tuple[Table, Table, Table]):
    found = [curves.trajectory for curves in noise_curves(open_study(tables[2]).readings, scaling="relative")]
    assert found == ["four", "one"]


@pytest.mark.parametrize(
    ("modification", "strength", "says"),
    [
        ("quantise", 1 / 127, "8 bits"),
        ("quantise", 1 / 7, "4 bits"),
        ("quantise", 1.0, "2 bits"),
        ("quantise", 4.0, "quantised to 4"),
        ("prune", 0.5, "share 0.5"),
        ("interpolate", 0.25, "weight 0.25"),
        ("noise", 1e-5, "γ 1e−5"),
    ],
)
def test_strengths_as_people_say_them(modification: str, strength: float, says: str):
    assert strength_words(modification, strength) == says
