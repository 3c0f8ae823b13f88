"""Forecasts of a study folder: what is found in its records, the words, the JSON, the page."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pliant.cli import app
from pliant.report.forecast_page import render_forecasts
from pliant.report.forecast_terminal import show_forecasts
from pliant.report.forecast_words import to_json
from pliant.report.forecasts import forecasts
from pliant.statistics import readings
from synthetic_study import Plan, write_study

BUDGETS = tuple(204_800 * 2**k for k in range(9))
GAMMAS = (0.02, 0.03, 0.05, 0.1)


def planted(gamma: float) -> float:
    """Where .9 x .66^k + 3 gamma^2 x 1.9^k is lowest: the study's noise in init scaling, k doublings in."""
    balance = -0.9 * math.log(0.66) / (3 * math.exp(0.15**2 / 2) * gamma**2 * math.log(1.9))
    return BUDGETS[0] * 2 ** (math.log(balance) / math.log(1.9 / 0.66))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("study")
    write_study(folder, Plan(budgets=BUDGETS, gammas=GAMMAS, rates=(0.01,), name="<b>planted"))
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path):
    from pliant.execution.table import read_table

    return readings(read_table(folder).rows)


def test_every_kind_of_noise_is_forecast_and_the_planted_turn_is_found(rows):
    study = forecasts(rows)
    assert [made.curves.label for made in study.made] == [
        "noise, init scaling",
        "noise, init scaling, without embeddings",
        "noise, relative scaling",
    ]
    for point in study.made[0].forecast.turning_points:
        assert point.t_star == pytest.approx(planted(point.gamma), rel=0.15)
        assert point.low <= planted(point.gamma) <= point.high


def test_scaling_and_gammas_are_the_users_choice(rows):
    study = forecasts(rows, gammas=[0.05, 0.004], scaling="relative")
    (made,) = study.made
    assert [p.gamma for p in made.forecast.turning_points] == [0.004, 0.05]
    assert not made.forecast.turning_points[0].measured


def test_refusals_say_what_is_there(rows):
    with pytest.raises(ValueError, match="noise in relative scaling, and the study has init"):
        forecasts([r for r in rows if r.scaling != "relative"], scaling="relative")
    with pytest.raises(ValueError, match="the study has none"):
        forecasts([r for r in rows if r.modification == "none"])
    with pytest.raises(ValueError, match="no base loss was given"):
        forecasts([r for r in rows if r.modification == "noise"])
    with pytest.raises(ValueError, match="7 token budgets or more, and 6"):
        forecasts([r for r in rows if r.tokens < BUDGETS[6]])
    with pytest.raises(ValueError, match="give `tokens` with each checkpoint"):
        forecasts([r._replace(tokens=None) for r in rows])


def test_one_kind_of_noise_may_be_refused_and_the_others_made(rows):
    study = forecasts([r for r in rows if r.scaling != "relative" or r.tokens < BUDGETS[6]])
    assert len(study.made) + len(study.refused) == 3
    assert [r.curves.label for r in study.refused] == ["noise, relative scaling"]


def test_statement_in_a_terminal(rows):
    screen = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show_forecasts(forecasts(rows, gammas=[0.001, 0.05], scaling="init"), screen)
    text = screen.export_text()
    screen.file.close()
    assert re.search(
        r"γ 0.05: T\* = [\d.]+M \[[\d.]+[KM], [\d.]+M\], in range \(T\*/T_max 0\.\d\d\); rolling shift", text
    )
    assert re.search(r"γ 0.001: not reached: T\* lies beyond 3 x 52.4M", text)
    assert re.search(
        r"Window 205K to 52.4M, 9 budgets; dropped at the start: none; curvature z [+−]\d\.\d, chi2/dof", text
    )
    assert "3 pre-training seeds; intercept of D/γ² on γ²" in text


def test_command_prints_json_and_writes_the_page(folder, tmp_path):
    page = tmp_path / "deep" / "page.html"
    done = CliRunner().invoke(
        app, ["forecast", str(folder), "--gamma", "0.05", "--scaling", "init", "--json", "--out", str(page)]
    )
    assert done.exit_code == 0, done.output
    made, other = json.loads(done.stdout)["forecasts"]
    assert other["label"] == "noise, init scaling, without embeddings"
    (point,) = made["turning_points"]
    assert point["t_star"] == pytest.approx(planted(0.05), rel=0.15)
    assert point["found"]["between"][0] < point["found"]["lowest"] < point["found"]["between"][1]
    assert made["seeds"] == [0, 1, 2]
    assert "&lt;b&gt;planted" in page.read_text(encoding="utf-8")


def test_json_is_strict(rows):
    text = json.dumps(to_json(forecasts(rows, gammas=[1e-4])), allow_nan=False)
    assert "not reached" in text


def test_page_names_nothing_from_outside_and_draws_each_gamma(rows):
    page = render_forecasts(forecasts(rows, gammas=[0.001, 0.05], scaling="init"))
    assert not re.search(r'(src|href)="(?!#)', re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert "default-src 'none'" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    figure = data["figures"][0]
    far, near = figure["series"]
    assert far["star"] is None
    assert far["points"] == []
    assert near["star"][0] == pytest.approx(planted(0.05), rel=0.15)
    assert np.diff([row[0] for row in near["line"]]).min() > 0
    assert len(near["points"]) == len(near["used"]) == 9
