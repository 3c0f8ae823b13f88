"""The table of scores: items averaged, intervals and paired differences by hand, and what is left out."""

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pliant.execution.table import Table
from pliant.report.benchmarks import BenchmarkRow, benchmark_rows, change_words, with_interval
from pliant.report.densities import DensityRow, density_rows, mean_words, place_words
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
    pruned = {"modification": "prune", "label": "prune, magnitude per tensor", "strength": 0.5}
    shared = pruned | {"evaluation": "divergence", "task": None, "metric": "divergence_nats", "count": (64, 64)}
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
    assert '0.250 <span class="interval">[0.006, 0.806]</span>' in page
    assert "<h3>Benchmarks</h3>" in page
    assert summarise([whole]).to_json()["studies"][0]["benchmarks"][0]["best"] == "2K"


def noisy(tokens: int, items: list[float], draw: int, sign: int, **changes: Any) -> dict[str, Any]:
    noise = {"modification": "noise", "label": "noise, relative scaling", "strength": 0.1}
    return row(tokens, items, draw=draw, sign=sign, **noise, **changes)


FULL, HALF, NONE = [1.0, 1, 1, 1], [1.0, 1, 0, 0], [0.0] * 4
DRAWN = (
    row(1000, FULL),
    *(noisy(1000, items, draw, sign) for draw, pair in enumerate([(FULL, FULL), (FULL, HALF), (HALF, NONE)])
      for sign, items in zip((1, -1), pair, strict=True)),
)  # fmt: skip


def densities_of(*rows: dict[str, Any]) -> tuple[DensityRow, ...]:
    return density_rows(open_study(table(*rows)))


def test_a_pair_is_one_draw_of_the_density_and_of_the_mean():
    (found,) = densities_of(*DRAWN)
    (point,) = found.points
    assert (point.base, point.checkpoint, point.seed) == (1.0, "1K", 1)
    assert [(d.kept, d.share, d.n) for d in point.kept] == [(0.9, 1.5 / 3, 3), (0.5, 2.5 / 3, 3)]
    assert (point.kept[0].low, point.kept[0].high) == clopper_pearson(1.5, 3)
    assert (point.mean.value, point.mean.n, point.mean.levels) == (pytest.approx(2 / 3), 3, ("draws",))


def test_each_run_is_held_against_its_own_score():
    other = (row(1000, HALF, pretraining_seed=2), noisy(1000, HALF, 0, 1, pretraining_seed=2))
    (found,) = densities_of(*DRAWN, *other)
    assert [place_words(point, found) for point in found.points] == ["1K, seed 1", "1K, seed 2"]
    assert [point.kept[0].share for point in found.points] == [0.5, 1.0]
    assert mean_words(found.points[1]) == "0.500"


def test_a_diverged_copy_keeps_nothing_and_has_no_mean():
    lost = noisy(1000, FULL, 3, 1, value=math.nan, status="diverged")
    (found,) = densities_of(*DRAWN, lost)
    assert found.points[0].kept[0].share == 1.5 / 4
    assert mean_words(found.points[0]) == "–"


@pytest.mark.parametrize("base", [[], [row(1000, NONE)]])
def test_without_a_score_to_keep_there_is_no_density(base: list[dict[str, Any]]):
    (found,) = densities_of(*base, noisy(1000, FULL, 0, 1))
    assert found.points[0].kept == ()


@pytest.mark.parametrize("metric", ["answer_nats", "perplexity,none", "brier_score,none"])
def test_a_metric_that_is_no_share_has_no_density(metric: str):
    assert densities_of(row(1000, FULL, metric=metric), noisy(1000, FULL, 0, 1, metric=metric)) == ()


def test_the_base_has_no_distance_from_itself():
    far = {"evaluation": "divergence", "task": None, "metric": "divergence_nats"}
    assert rows_of(row(1000, NONE, **far)) == ()


def test_terminal_page_and_json_show_densities_and_distances(tmp_path: Path):
    four = {"modification": "quantise", "label": "quantise, per channel", "strength": 1 / 7}
    far = {"evaluation": "divergence", "task": None, "metric": "divergence_nats", "count": (64, 64)} | four
    whole = table(*DRAWN, row(1000, [0.64, 0.64], **far), row(2000, [0.0064, 0.0128], **far))
    screen = Console(width=150, record=True, file=io.StringIO())
    show(summarise([whole]), screen)
    text, page = screen.export_text(), write_report([whole], tmp_path / "report.html", title="x").read_text("utf-8")
    low, high = clopper_pearson(1.5, 3)
    for shown in (text, page):
        assert "arc_easy, acc,none under noise, relative scaling γ 0.1" in shown
        assert "KL divergence from the unmodified model" in shown
        assert "quantisation, per channel, 4 bits" in shown
    assert f"0.50 [{low:.2f}, {high:.2f}]" in text
    assert f'0.50</span> <span class="interval">[{low:.2f}, {high:.2f}]' in page
    assert re.search(r"4 bits +0\.01 +0\.00015 \[", text)
    (told,) = summarise([whole]).to_json()["studies"][0]["densities"][0]["points"]
    assert told["kept"][0]["low"] == low
