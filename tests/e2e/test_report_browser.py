"""The report in a real browser: clicked points name records from which their values can be computed again."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from browser import FLAGS
from pliant.report import write_report
from synthetic_study import RATES, Plan, write_study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("study")
    table = write_study(folder, Plan(seeds=(0, 1, 2), rates=RATES[::2]))
    write_report([table], folder / "report.html", title="Seen in a browser")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, chromium: str) -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_context(viewport={"width": 1300, "height": 1000}, color_scheme="light", offline=True)
        page = opened.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        yield page
        browser.close()
        assert complaints == []


_PLACE = """([id, trace, point]) => {
  const plot = document.getElementById(id), box = plot.getBoundingClientRect();
  const { xaxis: x, yaxis: y } = plot._fullLayout, shown = plot.data.find((d) => d.meta === trace);
  const heat = shown.type === "heatmap";
  const row = heat ? shown.customdata.findIndex((r) => r.includes(point)) : point;
  const column = heat ? shown.customdata[row].indexOf(point) : point;
  return [box.left + x._offset + x.d2p(shown.x[column]), box.top + y._offset + y.d2p(shown.y[row])];
}"""


def click(page: Page, figure: str, trace: int, point: int) -> dict[str, Any]:
    """What the panel says after a click on one point: value, kind, and the readings it names."""
    plot = page.locator(f"#{figure}")
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{figure} .main-svg")
    page.wait_for_timeout(300)
    x, y = page.evaluate(_PLACE, [figure, trace, point])
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(200)
    page.mouse.click(x, y)
    page.wait_for_selector("#panel:not([hidden])")
    panel = page.locator("#panel")
    assert panel.get_attribute("data-figure") == figure
    found = {
        "kind": panel.get_attribute("data-kind"),
        "value": float(panel.get_attribute("data-value") or "nan"),
        "text": panel.inner_text(),
        "readings": page.eval_on_selector_all("#panel .reading", "all => all.map((e) => ({ ...e.dataset }))"),
    }
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    return found


def measured(folder: Path, reading: dict[str, str]) -> float:
    """The value in the record on disk that `reading` names, summed anew from its blocks."""
    record = json.loads((folder / reading["record"]).read_text(encoding="utf-8"))
    wanted = {name: reading[name] for name in ("metric", "split", "draw", "sign")}
    (found,) = (
        m
        for m in record["result"]["measurements"]
        if {name: "" if m[name] is None else str(m[name]) for name in wanted} == wanted
    )
    assert found["value"] == float(reading["value"])
    return math.fsum(found["blocks"]) / sum(found["count"])


def by_run(folder: Path, shown: dict[str, Any], role: str) -> dict[str, list[float]]:
    runs = defaultdict(list)
    for reading in shown["readings"]:
        if reading["role"] == role:
            runs[reading["run"]].append(measured(folder, reading))
    return runs


def test_sensitivity_under_noise(page: Page, folder: Path) -> None:
    shown = click(page, "english-sensitivity-noise-init-scaling", 8, 4)
    after, before = by_run(folder, shown, "m"), by_run(folder, shown, "b")
    assert [len(values) for values in after.values()] == [16, 16, 16]
    assert shown["kind"] == "difference"
    assert shown["value"] == pytest.approx(fmean(fmean(after[run]) - fmean(before[run]) for run in after))
    assert "95 % t-interval over 3 pre-training seeds" in shown["text"]


def test_heat_map_of_task_loss(page: Page, folder: Path) -> None:
    shown = click(page, "english-heat-fine-tune-python-task-loss", 0, 9)
    runs = by_run(folder, shown, "m")
    assert len(runs) == 3
    assert {reading["split"] for reading in shown["readings"]} == {"test"}
    assert shown["value"] == pytest.approx(fmean(fmean(values) for values in runs.values()))


def test_interpolated_pretraining_loss_at_the_tuned_rate(page: Page, folder: Path) -> None:
    shown = click(page, "english-tuned-fine-tune-python-pre-training-loss", 4, 2)
    assert shown["kind"] == "parabola"
    values = []
    for run in {reading["run"] for reading in shown["readings"]}:
        mine = [r for r in shown["readings"] if r["run"] == run]
        v = {float(r["strength"]): measured(folder, r) for r in mine if r["role"] == "v"}
        m = {float(r["strength"]): measured(folder, r) for r in mine if r["role"] == "m"}
        a, b, _ = np.polyfit(np.log(list(v)), list(v.values()), 2)
        values.append(np.polyval(np.polyfit(np.log(list(m)), list(m.values()), 2), -b / (2 * a)))
    assert len(values) == 3
    assert shown["value"] == pytest.approx(float(np.mean(values)), abs=1e-6)


def test_a_reused_rate_is_the_argmin_at_the_middle_budget(page: Page, folder: Path) -> None:
    shown = click(page, "english-tuned-fine-tune-python-task-loss", 5, 5)
    assert shown["kind"] == "reused"
    values = []
    for run in {reading["run"] for reading in shown["readings"]}:
        mine = [r for r in shown["readings"] if r["run"] == run]
        best = min((measured(folder, r), r["strength"]) for r in mine if r["role"] == "v")
        (used,) = (r for r in mine if r["role"] == "m")
        assert (used["strength"], used["split"]) == (best[1], "test")
        values.append(measured(folder, used))
    assert len(values) == 3
    assert shown["value"] == pytest.approx(fmean(values))


def test_loss_against_distance_opens_with_its_fold(page: Page, folder: Path) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    shown = click(page, "english-against-distance-fine-tune-python-pre-training-loss", 0, 0)
    assert shown["kind"] == "against"
    losses = [measured(folder, r) for r in shown["readings"] if r["role"] == "m"]
    distances = [float(r["value"]) for r in shown["readings"] if r["role"] == "d"]
    assert (len(losses), shown["value"]) == (3, pytest.approx(fmean(losses)))
    assert f"distance {fmean(distances):.3g}" in shown["text"]


def test_tuned_rate_is_the_argmin_on_validation(page: Page, folder: Path) -> None:
    shown = click(page, "english-tuned-fine-tune-python-rate", 0, 5)
    best: dict[str, tuple[float, float]] = {}
    for reading in shown["readings"]:
        assert reading["split"] == "validation"
        pair = (measured(folder, reading), float(reading["strength"]))
        best[reading["run"]] = min(best.get(reading["run"], pair), pair)
    assert shown["value"] == pytest.approx(math.exp(fmean(math.log(rate) for _, rate in best.values())))


def test_units_and_theme_switch(page: Page) -> None:
    rise = page.locator(".headline-table .loss").first
    bits = rise.inner_text()
    page.click("#unit")
    assert rise.inner_text() != bits
    nats = float(rise.get_attribute("data-nats") or "nan")
    assert float(rise.inner_text().replace("−", "-")) == pytest.approx(nats, abs=5e-4)
    page.click("#unit")
    assert rise.inner_text() == bits
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    page.click("#theme")
    assert page.evaluate(background) == light


def test_no_figure_is_wider_than_a_narrow_window(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for _ in range(50):  # the page's own policy forbids wait_for_function
        if page.evaluate("document.documentElement.scrollWidth") <= 390:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1300, "height": 1000})
