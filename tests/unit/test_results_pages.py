"""The tables of docs/results come again from the measurements in docs/results/data."""

import runpy
from pathlib import Path

import pytest

from pliant.statistics import over_seeds

RESULTS = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "results.py"))
PAGES = sorted(RESULTS["RESULTS"].glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_the_measurements_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert RESULTS["with_tables"](text) == text


def test_every_table_stands_on_a_page_and_every_picture_is_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in RESULTS["TABLES"]:
        assert f"<!-- table: {name} -->\n|" in text, f"{name} is on no page, or empty: scripts/results.py pages"
    pictures = {line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert pictures == {picture.name for picture in RESULTS["RESULTS"].glob("*.png")}


def test_what_excludes_zero_is_bold() -> None:
    shown = RESULTS["shown"]
    assert shown(over_seeds({1: 0.1, 2: 0.11, 3: 0.12})).startswith("**+0.110** [+0.085, ")
    assert shown(over_seeds({1: 0.1, 2: -0.1})).startswith("+0.000 [-")
    assert shown(over_seeds({1: 0.1})) == "+0.100 (one run)"
