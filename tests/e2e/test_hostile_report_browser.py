"""A study whose every name is an attack, in a real browser: the names are text, and nothing else happens."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from browser import FLAGS
from pliant.execution.table import read_table
from pliant.report import write_report
from pliant.report.summary import summarise
from pliant.report.terminal import show
from synthetic_study import RATES, Plan, Way, write_study

pytestmark = pytest.mark.browser

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
LINK = '<a href="https://evil.example/">click</a>'
CLOSING = "</script><script>alert(4)</script>"
STYLED = '<span style="position:fixed">&lt;b&gt;</span><br><b>bold</b>'
MARKUP = "[/red]{{ 7*7 }}${alert(5)}%{y}"
NAMES = (SCRIPT, IMAGE, LINK, CLOSING, STYLED, MARKUP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trajectory, checkpoint, tasks, methods, study, notes, settings and errors are hostile."""
    folder: Path = tmp_path_factory.mktemp("study")
    write_study(
        folder,
        Plan(
            name=SCRIPT,
            seeds=(0, 1),
            rates=RATES[::6],
            gammas=(0.1,),
            budgets=(204_800, 409_600, 819_200),
            trajectory=IMAGE + MARKUP,
            tasks=(LINK + MARKUP,),
            ways=(Way(method=STYLED, amount=0.5),),
            first_checkpoint=f"{SCRIPT}{LINK}",
        ),
    )
    plan = json.loads((folder / "plan.json").read_text())
    plan["notes"] = list(NAMES)
    lost, _, asked = plan["cells"][-1]
    for evaluation in plan["evaluations"][asked]:
        (folder / "records" / lost / f"{evaluation}.json").unlink()
    (folder / "records" / lost / "run.json").write_text(json.dumps({"error": CLOSING + IMAGE, "attempts": 2}))
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "study.yaml").write_text(f"study: x\n# {CLOSING}{IMAGE}{LINK}\n")
    write_report([read_table(folder)], folder / "report.html", title=CLOSING, notes=NAMES)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, chromium: str) -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(viewport={"width": 1300, "height": 1000}, offline=True).new_page()
        happened: list[str] = []
        page.on("dialog", lambda dialog: (happened.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: happened.append(request.url))
        page.on("console", lambda message: happened.append(message.text))
        page.on("pageerror", lambda error: happened.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        for plot in page.query_selector_all(".plot"):
            plot.scroll_into_view_if_needed()
            page.wait_for_timeout(30)
        page.wait_for_timeout(300)
        yield page
        browser.close()
        assert happened == [(folder / "report.html").as_uri()]


def test_no_element_comes_of_a_name(page: Page) -> None:
    assert page.locator(".plot .main-svg").count() > 0
    assert page.locator("img, iframe, object, embed, base, form, link").count() == 0
    assert page.locator("script").count() == 3  # plotly, the data, and ours
    links = page.eval_on_selector_all(
        "a", "all => all.map((a) => a.getAttribute('href') || a.getAttribute('xlink:href'))"
    )
    assert [link for link in links if not str(link).startswith("#")] == []
    assert page.eval_on_selector_all("[style]", "all => all.filter((e) => e.style.position === 'fixed').length") == 0
    handlers = "all => all.filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length"
    assert page.eval_on_selector_all("*", handlers) == 0


def test_the_names_are_shown_as_they_are(page: Page) -> None:
    text = page.locator("body").inner_text()
    for name in (SCRIPT, CLOSING, LINK, IMAGE):
        assert name in text


def test_a_clicked_point_names_them_as_text(page: Page) -> None:
    found: Any = page.evaluate(
        """() => {
          const plot = [...document.querySelectorAll('.plot')].find((p) => p.data && p.data.some((d) => d.meta >= 0));
          plot.scrollIntoView();
          const trace = plot.data.findIndex((d) => d.meta >= 0);
          plot.emit('plotly_click', { points: [{ data: plot.data[trace], pointNumber: 0, customdata: 0 }] });
          const panel = document.getElementById('panel');
          return [panel.hidden, panel.innerText, panel.querySelectorAll('img, script, a').length];
        }"""
    )
    assert (found[0], found[2]) == (False, 0)
    assert "<" in found[1]


def test_the_terminal_shows_them_as_text_too(folder: Path) -> None:
    with Console(width=300, record=True, file=io.StringIO(), markup=False) as screen:
        show(summarise([read_table(folder)]), screen, every_rate=True)
    said = screen.export_text()
    assert "[/red]" in said
    assert SCRIPT in said
