"""What a report says of fine-tuning sweeps: one rate reused, ways and lengths, adaptation, distances."""

import io
import json
import math
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from pliant.report import Summary, show, summarise, write_report
from pliant.report.figure import Figure, Ledger
from pliant.report.sections import Section, section
from pliant.report.summary import StudySummary
from synthetic_study import BUDGETS, RATES, Plan, Way, write_study

WAYS = (
    Way(),
    Way(method="anchor", amount=0.3),
    Way(method="anchor", amount=3.0),
    Way(method="LoRA rank 8"),
    Way(steps=300),
    Way(method="replay", amount=0.5, steps=30),
)
PLAN = Plan(name="ways", gammas=(), rates=RATES[3::3], ways=WAYS)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Section, Ledger]:
    ledger = Ledger()
    table = write_study(tmp_path_factory.mktemp("ways"), PLAN)
    return section(table, ledger, set(), 0.01), ledger


@pytest.fixture(scope="module")
def summary(opened: tuple[Section, Ledger]) -> StudySummary:
    return opened[0].summary


def figure(opened: tuple[Section, Ledger], name: str) -> Figure:
    (found,) = (f for part in opened[0].parts for f in part.every_figure if f.id == name)
    return found


def test_the_price_of_an_anchor_is_the_planted_one(summary: StudySummary) -> None:
    (table,) = [t for t in summary.methods if t.steps == 100]
    assert [(row.method, row.amount) for row in table.rows] == [
        (None, None),
        ("LoRA rank 8", None),
        ("anchor", 0.3),
        ("anchor", 3.0),
    ]
    anchored = table.rows[-1].price
    assert anchored is not None
    assert anchored.task_loss.last is not None
    assert anchored.task_loss.mean is not None
    assert anchored.task_loss.last.value == pytest.approx(0.15, abs=0.003)
    assert anchored.task_loss.mean.value == pytest.approx(0.15, abs=0.003)
    assert anchored.task_loss.last.n == 3
    assert anchored.pretraining_loss.last is not None
    assert anchored.pretraining_loss.last.high < 0


def test_the_turn_moves_later_at_a_price_as_the_theory_says(summary: StudySummary) -> None:
    (table,) = [t for t in summary.methods if t.steps == 100]
    lora, anchor = table.turns
    assert (anchor.method, anchor.amounts, anchor.pretraining_minimum, anchor.task_loss, anchor.theory) == (
        "anchor",
        (0.3, 3.0),
        "later",
        "higher",
        "agrees",
    )
    assert "moves later (3.28M → 6.55M → 6.55M); task loss at 6.55M higher" in anchor.words
    assert (lora.amounts, lora.pretraining_minimum, lora.theory) == ((), "not resolved", None)


def test_a_way_without_plain_beside_it_has_no_price(summary: StudySummary) -> None:
    assert any("No price for fine-tune python, 30 steps, replay 0.5" in caveat for caveat in summary.caveats)


def test_holm_counts_tuned_curves_and_neither_reused_rates_nor_adaptation(summary: StudySummary) -> None:
    counted = {(f.rate, f.quantity) for f in summary.findings if f.primary}
    assert counted == {("tuned", "task loss"), ("tuned", "pre-training loss")}
    measured = {(f.rate, f.quantity) for f in summary.findings if f.label == "fine-tune python"}
    assert {("reused", "task loss"), ("reused", "pre-training loss"), ("tuned", "adaptation")} <= measured
    assert all(f.p_holm != f.p_holm for f in summary.findings if f.rate == "reused" or f.quantity == "adaptation")


def test_what_stands_beside_the_main_fine_tuning_is_folded_away(opened: tuple[Section, Ledger]) -> None:
    found, _ = opened
    assert all("Fine-tuning on python," not in words or "python, task" in words for words in found.summary.short[:1])
    assert {a.modification for a in found.summary.advice if not a.aside} == {"fine-tune python"}
    folds = [fold.title for part in found.parts if part.title.startswith("Other") for fold in part.folds]
    assert folds == [
        "Fine-tuning on python, anchor 0.3",
        "Fine-tuning on python, anchor 3",
        "Fine-tuning on python, LoRA rank 8",
        "Fine-tuning on python, 300 steps",
        "Fine-tuning on python, 30 steps, replay 0.5",
    ]
    assert {group.fold for group in found.headline.groups} == {"", "fixed", "aside"}
    shown = sum(len(part.figures) for part in found.parts)
    assert shown <= 2 + 3 + 2 + 2 + 4


def test_tuning_once_costs_what_the_distance_from_the_best_rate_costs(summary: StudySummary) -> None:
    reuse = next(r for r in summary.reuses if r.label == "fine-tune python")
    assert reuse.tuned_at == BUDGETS[2]
    # the best rate falls by 0.8 a budget, and the loss is 0.08 ln(rate / best)^2 above the lowest
    best = 0.02 * 0.8**5
    assert reuse.task_loss.last is not None
    assert set(reuse.rates.values()) == {RATES[9]}
    costs = 0.08 * (math.log(RATES[9] / best) ** 2 - math.log(RATES[6] / best) ** 2)
    assert reuse.task_loss.last.value == pytest.approx(costs, abs=0.003)
    assert reuse.task_loss.last.low > 0
    assert any("Tuned once at 819K" in words for words in summary.tuning)


def test_longer_fine_tuning_is_a_second_axis(summary: StudySummary, opened: tuple[Section, Ledger]) -> None:
    (table,) = summary.steps
    assert [(row.steps, row.task_epochs) for row in table.rows] == [(100, 100 / 120), (300, 2.5)]
    longer = table.rows[1].task_loss[-1]
    assert longer is not None
    drawn = figure(opened, "ways-steps-fine-tuning-on-python-task-loss")
    assert drawn.x_name == "fine-tuning steps"
    assert [point.x for point in drawn.traces[-1].points] == [100.0, 300.0]
    assert drawn.traces[-1].points[1].y == pytest.approx(longer.value)


def test_a_fixed_rate_moves_the_weights_as_far_as_planted(summary: StudySummary) -> None:
    found = next(m for m in summary.movements if m.label == "fine-tune python" and m.metric == "distance")
    assert found.together.ratio.value == pytest.approx(1.03**5)
    assert (found.together.size, found.told) == ("roughly constant", True)
    assert 0.0567 not in {round(r, 4) for r in found.together.rates}  # it diverged at the last budget
    assert "1.16 [1.16, 1.16]x" in found.words


def test_loss_against_distance_names_both_readings(opened: tuple[Section, Ledger]) -> None:
    drawn, (_, ledger) = figure(opened, "ways-against-distance-fine-tune-python-task-loss"), opened
    point = drawn.traces[0].points[0]
    readings = {role: [ledger.kept[int(str(i))] for i in numbers] for role, numbers in point.sources.items()}
    assert point.x == pytest.approx(fmean(r.value for r in readings["d"]))
    assert point.y == pytest.approx(fmean(r.value for r in readings["m"]))
    assert {r.split for r in readings["m"]} == {"test"}
    assert (len(readings["m"]), len(drawn.traces)) == (3, len(BUDGETS))
    assert len(drawn.traces[-1].points) == len(drawn.traces[0].points) - 1  # the largest rate diverged there


def test_adaptation_is_drawn_at_fixed_and_at_tuned_rates(opened: tuple[Section, Ledger]) -> None:
    drawn = figure(opened, "ways-adaptation-fine-tune-python")
    assert [trace.name for trace in drawn.traces][-1] == "tuned"
    at_last = {trace.name: trace.points[-1].y for trace in drawn.traces if trace.points[-1].x == BUDGETS[-1]}
    assert at_last["tuned"] == pytest.approx(min(at_last.values()), abs=0.002)


def test_the_terminal_shows_prices_and_lengths(summary: StudySummary) -> None:
    console = Console(width=150, file=io.StringIO(), record=True)
    show(Summary(studies=(summary,)), console)
    text = console.export_text()
    assert "Fine-tuning on python: the price of other ways" in text
    assert "300 (2.5 epochs)" in text
    assert "tuned once, reused" in text
    assert "fine-tuning on python, anchor 3, task loss" not in text
    console = Console(width=300, file=io.StringIO(), record=True)
    show(Summary(studies=(summary,)), console, every_rate=True)
    assert "fine-tuning on python, anchor 3, task loss" in console.export_text()


def test_everything_is_in_the_json(summary: StudySummary) -> None:
    data = json.loads(json.dumps(Summary(studies=(summary,)).to_json(), allow_nan=False))["studies"][0]
    assert data["methods"][0]["rows"][1]["price"]["matched"]["last"]["n"] == 3
    assert data["reuses"][0]["task_loss"]["last"]["low"] is not None
    assert data["movements"][0]["together"]["ratio"]["method"].startswith("95 % t-interval over 3")
    row = data["steps"][0]["rows"][0]
    losses = [estimate["value"] for estimate in row["task_loss"]]
    assert row["task_minimum"]["budget"] == BUDGETS[losses.index(min(losses))]


def test_one_run_without_adaptation_or_distance_still_reports(tmp_path: Path) -> None:
    plan = Plan(seeds=(0,), gammas=(), rates=RATES[::4], ways=WAYS[:2], budgets=BUDGETS[:2])
    table = write_study(tmp_path, plan)
    losses = tuple(row for row in table.rows if row["evaluation"] in ("pretraining-loss", "task-loss"))
    bare = type(table)(
        folder=table.folder, study=table.study, rows=losses, planned=1, missing=0, failed=(), settings=""
    )
    found = summarise([bare]).studies[0]
    assert found.movements == ()
    price = found.methods[0].rows[1].price
    assert price is not None
    assert price.task_loss.last is not None
    assert price.task_loss.last.method == "one value, no interval"
    assert found.methods[0].turns[0].theory == "cannot tell"
    page = write_report([bare], tmp_path / "r.html", title="t").read_text(encoding="utf-8")
    assert "Ways of fine-tuning" in page
