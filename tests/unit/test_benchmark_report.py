"""The table of scores: items averaged, intervals and paired differences by hand, and what is left out."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pliant.execution.table import Table
from pliant.report.benchmarks import BenchmarkRow, benchmark_rows, change_words, with_interval
from pliant.report.html import write_report
from pliant.report.study import open_study
from pliant.report.summary import summarise
from pliant.report.terminal import show
from pliant.statistics.proportion import clopper_pearson


def row(tokens: int, items: list[float], **changes: Any) -> dict[str, Any]:
    return {
        "study": "s",
        "trajectory": "main",
        "checkpoint": f"c{tokens}",
        "tokens": tokens,
        "pretraining_seed": 1,
        "evaluation": "harness",
        "task": "arc_easy",
        "metric": "acc,none",
        "split": None,
        "value": sum(items) / len(items),
        "blocks": tuple(items),
        "count": (1,) * len(items),
        "status": "ok",
    } | changes


def table(*rows: dict[str, Any]) -> Table:
    return Table(folder=Path("x"), study="s", rows=rows, planned=len(rows), missing=0, failed=(), settings="")


def rows_of(*rows: dict[str, Any]) -> tuple[BenchmarkRow, ...]:
    return benchmark_rows(open_study(table(*rows)))


EARLY, BEST, LAST = [0.0, 1, 0, 0], [1.0, 1, 1, 0], [1.0, 0, 0, 1]


def test_the_last_is_paired_with_the_best_earlier():
    (found,) = rows_of(row(1000, EARLY), row(2000, BEST), row(3000, LAST))
    assert [s.estimate.value for s in found.scores] == [0.25, 0.75, 0.5]
    assert (found.scores[1].estimate.low, found.scores[1].estimate.high) == clopper_pearson(3, 4)
    assert found.best == "2K"
    assert found.change is not None
    assert found.change.difference.value == pytest.approx(-0.25)
    assert (found.change.first_only, found.change.second_only) == (1, 2)
    assert found.change.p == 1.0
    assert change_words(found.change).startswith("−0.250 [")


def test_where_less_is_better_the_lowest_is_best():
    shared = {"evaluation": "divergence", "task": None, "metric": "divergence_nats", "count": (64, 64)}
    (found,) = rows_of(row(1000, [64.0, 128], **shared), row(2000, [128.0, 192], **shared))
    assert found.best == "1K"
    assert [s.estimate.value for s in found.scores] == [1.5, 2.5]
    assert found.change is not None
    assert found.change.difference.value == pytest.approx(1.0)
    assert (found.what, found.change.p) == ("divergence", None)


def test_copies_are_averaged_item_by_item():
    noise = {"modification": "noise", "label": "noise, relative scaling", "strength": 0.1}
    (found,) = rows_of(row(1000, [1.0, 0.0], draw=0, **noise), row(1000, [1.0, 1.0], draw=1, **noise))
    assert found.scores[0].estimate.value == 0.75
    assert "t-interval" in found.scores[0].estimate.method
    assert found.change is None


def test_two_tasks_and_a_groups_members_stand_apart():
    found = rows_of(
        row(1000, EARLY),
        row(1000, BEST, task="piqa"),
        row(1000, BEST, split="arc_part"),
        row(1000, [0.1], metric="acc_stderr,none", blocks=(), count=()),
    )
    assert [r.what for r in found] == ["arc_easy", "piqa", "arc_easy arc_part"]


def test_a_corpus_metric_has_no_interval():
    unequal = {"metric": "bits_per_byte,none", "count": (3, 1), "value": 1.0}
    (found,) = rows_of(row(1000, [3.0, 1.0], **unequal), row(2000, [3.0, 1.0], **unequal | {"value": 0.5}))
    assert with_interval(found.scores[0].estimate) == "1.000"
    assert (found.best, found.change) == ("2K", None)


def test_a_diverged_point_is_left_out():
    (found,) = rows_of(row(1000, EARLY), row(2000, BEST, status="diverged"))
    assert [s.checkpoint for s in found.scores] == ["1K"]
    assert rows_of(row(2000, BEST, status="diverged")) == ()


def test_terminal_page_and_json_show_the_scores(tmp_path: Path):
    whole = table(row(1000, EARLY), row(2000, LAST))
    screen = Console(width=150, record=True, file=(tmp_path / "screen").open("w"))
    show(summarise([whole]), screen)
    screen.file.close()
    text = (tmp_path / "screen").read_text()
    assert "arc_easy, acc,none" in text
    assert "0.500 [0.068, 0.932]" in text
    page = write_report([whole], tmp_path / "report.html", title="x").read_text(encoding="utf-8")
    assert "1K: 0.250 [0.006, 0.806]" in page
    assert "Benchmarks and distances" in page
    assert summarise([whole]).to_json()["studies"][0]["benchmarks"][0]["best"] == "2K"
