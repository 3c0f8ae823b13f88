"""The report as data and as text: verdicts, escaping, self-containedness, one file."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pliant.execution.table import Table
from pliant.report import ExpectationResult, Summary, show, summarise, write_report
from pliant.report.html import embedded
from pliant.statistics import Estimate
from synthetic_study import RATES, Plan, write_study

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    folder: Path = tmp_path_factory.mktemp("studies")
    english = Plan(seeds=(0, 1, 2), rates=RATES[::2])
    odd = Plan(
        name=f"markov {EVIL}",
        seeds=(0,),
        gammas=(0.1,),
        rates=(0.001, 0.002),
        bytes_per_token=None,
        first_checkpoint=EVIL,
    )
    return [write_study(folder / "english", english), write_study(folder / "markov", odd)]


@pytest.fixture(scope="module")
def summary(tables: list[Table]) -> Summary:
    return summarise(tables)


@pytest.fixture(scope="module")
def page(tables: list[Table], tmp_path_factory: pytest.TempPathFactory) -> str:
    result = ExpectationResult(
        text=f"rises {EVIL}", study="english", observed="it did", agrees="agrees", evidence="3 seeds"
    )
    out = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    assert write_report(tables, out, title=f"A title {EVIL}", notes=[EVIL], expectations=[result]) == out
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


def test_everything_from_outside_is_escaped(page: str) -> None:
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)" in page


def test_page_asks_nothing_of_the_network(page: str) -> None:
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", own)
    assert "default-src 'none'" in page


def test_planted_upturn_is_found_and_worded(summary: Summary) -> None:
    english = summary.studies[0]
    strong = [f for f in english.findings if f.label == "noise, init scaling" and f.strength == 0.2]
    assert [f.judgement.verdict for f in strong] == ["worse"]
    assert strong[0].minimum.kind == "interior"
    assert strong[0].rank.rho == pytest.approx(1.0)
    assert any("lowest at" in sentence for sentence in english.noise)
    assert "of 9 curves under noise" in english.headline


def test_one_run_speaks_of_this_run_only(summary: Summary) -> None:
    single = summary.studies[1]
    assert single.headline.startswith("Only 1 run.")
    assert "in this run" in single.headline
    assert any("One pre-training run" in caveat for caveat in single.caveats)


def test_best_rate_at_the_end_of_the_grid_is_a_caveat(summary: Summary) -> None:
    caveats = summary.studies[1].caveats
    assert any("high end of the grid" in caveat for caveat in caveats)


def test_summary_is_plain_json(summary: Summary) -> None:
    data = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert data["studies"][0]["findings"][0]["minimum"]["rise"]["n"] == 3


def test_terminal_shows_table_and_verdicts(summary: Summary) -> None:
    console = Console(width=140, file=io.StringIO(), record=True)
    show(summary, console)
    text = console.export_text()
    assert "last − best earlier" in text
    assert "margin 0.01 nats/token (0.014 bits/byte)" in text
    assert "tuned, interpolated" in text


def test_unfinished_study_still_reports(tmp_path: Path) -> None:
    table = write_study(tmp_path, Plan(seeds=(0, 1), budgets=(1000, 2000), rates=(), gammas=(0.1,)))
    first = table.rows[0]["cell"]
    one = Table(
        folder=table.folder,
        study=table.study,
        rows=tuple(row for row in table.rows if row["cell"] == first),
        planned=table.planned,
        missing=table.planned - 1,
        failed=(),
        settings="",
    )
    empty = Table(folder=table.folder, study="e", rows=(), planned=3, missing=3, failed=(), settings="")
    page = write_report([one, empty], tmp_path / "r.html", title="t").read_text(encoding="utf-8")
    assert "records are not there yet" in page
    assert "No modification has been measured" in page


def test_report_without_studies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one study"):
        write_report([], tmp_path / "r.html", title="t")


def test_embedded_json_cannot_close_its_script() -> None:
    text = embedded({"a": "</script><!--", "b": float("nan"), "c": [float("inf")]})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": None, "c": [None]}


_TIMED = """
import pathlib, sys, time
from synthetic_study import Plan, write_study
from pliant.report import write_report
folder = pathlib.Path(sys.argv[1])
table = write_study(folder, Plan(seeds=tuple(range(8))))
assert len(table.rows) > 9000
started = time.process_time()
write_report([table], folder / "r.html", title="t")
print(time.process_time() - started)
"""


def test_ten_thousand_rows_take_seconds(tmp_path: Path) -> None:
    """In a process of its own: the shape checks of this one cost five times as much."""
    tests = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", _TIMED, str(tmp_path)], cwd=tests, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 6  # 1.7 on one core


def test_interval_is_shown_in_the_unit_of_the_study(summary: Summary) -> None:
    unit = summary.studies[0].unit
    estimate = Estimate(
        value=1.0,
        low=0.5,
        high=1.5,
        standard_error=0.1,
        degrees_of_freedom=2.0,
        n=3,
        seeds=(0, 1, 2),
        values=(1.0, 1.0, 1.0),
        levels=("pre-training seeds",),
        method="",
    )
    assert unit.interval(estimate) == "+1.443 [+0.721, +2.164]"
