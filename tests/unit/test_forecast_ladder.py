"""The table of docs/forecast.md comes again from the ladder's losses in docs/data."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from pliant.records.units import parse_tokens

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def holdout():
    spec = importlib.util.spec_from_file_location("forecast_holdout", ROOT / "benchmarks" / "forecast_holdout.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def documented(hidden):
    page = (ROOT / "docs" / "forecast.md").read_text(encoding="utf-8")
    table = re.search(rf"<!-- holdout {hidden} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def number(text):
    """Tokens, or a bare number."""
    try:
        return float(text)
    except ValueError:
        return float(parse_tokens(text))


@pytest.mark.parametrize("hidden", [(1, 2, 3), (4, 5)])
def test_documented_table_is_what_the_ladder_gives(holdout, hidden):
    rows = documented(" ".join(map(str, hidden)))
    cases = list(holdout.cases(holdout.read_ladder(holdout.LADDER), hidden))
    assert len(rows) == len(cases) == 10 * len(hidden)
    for row, case in zip(rows, cases, strict=True):
        shown = [cell.strip() for cell in holdout.table_row(case).strip("|").split("|")]
        for old, new in zip(row, shown, strict=True):
            if old == new:
                continue
            for one, other in zip(re.split(r" - |, ", old), re.split(r" - |, ", new), strict=True):
                assert number(one) == pytest.approx(number(other), rel=0.02, abs=0.11), (row, shown)


def test_documented_counts(holdout):
    cases = list(holdout.cases(holdout.read_ladder(holdout.LADDER), (1, 2, 3)))
    hits = {s: [c.hit for c in cases if c.scaling == s and c.hit is not None] for s in ("init", "relative")}
    assert {s: (sum(h), len(h)) for s, h in hits.items()} == {"init": (15, 18), "relative": (4, 12)}
