"""The theory page in a real browser: every panel draws, in light and dark, wide and narrow, without a complaint."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from browser import FLAGS
from pliant.report.theory_page import write_theory_page
from pliant.theory.linear_model import LinearModel

pytestmark = pytest.mark.browser
LINES = {"features": 7, "noise": 4, "kept": 5, "task": 5, "decay": 6, "anchor": 2}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = LinearModel(rank=32)
    found = model.inflections(np.array([0.05, 0.08, 0.12]))
    assert [f.kind for f in found] == ["U", "U", "U"]
    out: Path = tmp_path_factory.mktemp("theory") / "theory.html"
    return write_theory_page(model, found, out, task="reversed", tau=5.0, lambdas=[0.0, 1.0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_panels_draw(file: Path, chromium: str, scheme: str, width: int) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        viewport = {"width": width, "height": 900}
        page = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True).new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        for panel, lines in LINES.items():
            page.wait_for_selector(f"#{panel} .main-svg")
            assert page.locator(f"#{panel} .scatterlayer .trace").count() == lines
        assert page.locator("#noise .scatterlayer .point").count() == 3
        assert page.locator("#inflections tbody tr").count() == 3
        assert page.locator("#anchors tbody tr").count() == 2
        background = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(background)
        page.click("#theme")
        assert page.evaluate(background) != before
        page.click("#theme")
        assert page.evaluate(background) == before
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
        assert complaints == []
