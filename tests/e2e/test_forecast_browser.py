"""The page of `pliant forecast --out` in a real browser: drawn in both themes, T* where the table says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from test_report_browser import FLAGS

from pliant.execution.table import read_table
from pliant.report.forecast_page import write_forecasts
from pliant.report.forecasts import StudyForecasts, forecasts
from pliant.statistics import readings
from synthetic_study import Plan, write_study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyForecasts:
    folder: Path = tmp_path_factory.mktemp("study")
    budgets = tuple(204_800 * 2**k for k in range(9))
    write_study(folder, Plan(budgets=budgets, gammas=(0.02, 0.03, 0.05, 0.1), rates=(0.01,)))
    return forecasts(readings(read_table(folder).rows), gammas=(0.001, 0.01, 0.05, 0.1), scaling="init")


@pytest.fixture(scope="module")
def page(study: StudyForecasts, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    out = write_forecasts(study, tmp_path_factory.mktemp("page") / "forecast.html")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light", offline=True)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(out.as_uri())
        page.wait_for_selector("#figure-0 .main-svg")
        yield page
        browser.close()
        assert complaints == []


def test_stars_stand_where_the_forecast_says(page: Page, study: StudyForecasts) -> None:
    given = [p.t_star for p in study.made[0].forecast.turning_points if p.reach != "not reached"]
    drawn = page.evaluate(
        "document.getElementById('figure-0').data.filter((t) => t.meta === 'star').map((t) => t.x[0])"
    )
    assert drawn == pytest.approx(given)
    assert len(drawn) < len(study.made[0].forecast.turning_points)


def test_beyond_the_last_budget_lines_are_dashed(page: Page, study: StudyForecasts) -> None:
    last = study.made[0].forecast.window[1]
    lines = page.evaluate(
        "document.getElementById('figure-0').data.filter((t) => t.mode === 'lines' && t.line.dash)"
        ".map((t) => [t.line.dash, Math.min(...t.x), Math.max(...t.x)])"
    )
    assert {dash for dash, _, _ in lines} == {"solid", "dash"}
    assert all(low >= last * 0.999 if dash == "dash" else high <= last * 1.001 for dash, low, high in lines)


def test_theme_changes_and_a_narrow_window_holds_the_page(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    page.set_viewport_size({"width": 390, "height": 800})
    for _ in range(50):
        if page.evaluate("document.documentElement.scrollWidth") <= 390:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
