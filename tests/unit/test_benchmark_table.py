"""Figures as text: amounts, the table as Markdown and on terminals of 80 and 120 columns, the page, the machine."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmark_rows import FAST, MACHINE, ROW, SLOW, outcome
from pliant.benchmarks import terminal
from pliant.benchmarks.machine import busy_words, read_cpuinfo, read_machine
from pliant.benchmarks.outcome import read_outcome
from pliant.benchmarks.table import BEGIN, END, amount, conditions, found, markdown, summary, target, with_region
from pliant.benchmarks.turns import in_turns, ratio, times_as_fast


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (4.92134, "x", "4.92x"),
        (13.53, "x", "13.5x"),
        (0.2, "x", "0.200x"),
        (1234.5, "x", "1,234x"),
        (1.2, "ms", "1.20 ms"),
    ],
)
def test_amounts_have_three_digits(value, unit, words):
    assert amount(value, unit) == words


def test_a_figure_says_spread_and_target():
    assert (found(FAST), target(FAST)) == ("47.0x [41.5, 52.2]", ">= 40x")
    assert (found(SLOW), target(SLOW)) == ("2.50 ms [2.00, 3.00]", "<= 2 ms")


def test_a_row_is_met_when_every_figure_is():
    met = outcome("other", replace(ROW, figures=(FAST,)))
    assert summary([outcome(), met]) == "1 of 2 rows met (every figure of a row must be)"


def test_markdown_is_a_table_with_what_it_was_measured_on():
    text = markdown([outcome()], ["study: needs accelerate"], "pliant bench")
    assert text.splitlines()[:4] == [
        "| work | case | against | found | target | target met | of GEMM peak |",
        "|---|---|---|---|---|---|---|",
        "| noise | gamma .005 | deep copies | 47.0x [41.5, 52.2] | >= 40x | met | 19% |",
        "|  | a cell |  | 2.50 ms [2.00, 3.00] | <= 2 ms | missed |  |",
    ]
    for line in (
        "- noise, a cell: busy",
        "- noise: equal within 1e-05",
        "- not measured: study: needs accelerate",
        "- machine: Some Processor 9000, 2 cores, 24 GiB; avx512f, amx_bf16",
        "- GEMM peak: 165 GF/s float32, 1,100 GF/s bfloat16 (the best of any row)",
        "- versions: Python 3.11.7, torch 2.13.0",
        "- measured: 2026-11-22, 1.5 minutes in all; load average before each row 0.1 to 0.1",
        "- command: `pliant bench`",
    ):
        assert line in text.splitlines()


def test_rows_of_two_machines_say_which_is_of_which():
    other = replace(MACHINE, processor="Another")
    lines = conditions([outcome(), outcome("study", machine=other)])
    assert lines[0].startswith("machine (noise): Some Processor 9000")
    assert lines[4].startswith("machine (study): Another")


def test_the_page_keeps_what_is_around_the_markers():
    page = f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    assert with_region(page, "new") == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nafter\n"
    for broken in ("# Title\n", f"{BEGIN} only", f"{END} before {BEGIN}"):
        with pytest.raises(ValueError, match="no lines <!-- pliant bench: begin -->"):
            with_region(broken, "new")


@pytest.mark.parametrize("width", [80, 120])
def test_every_number_is_on_the_terminal_and_no_line_is_too_wide(width):
    stream = io.StringIO()
    terminal.show([outcome()], ["study: failed: ValueError: [x]"], Console(file=stream, width=width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for words in ("[smallest, largest round]", "47.0x", ">= 40x", "<= 2 ms", "met", "missed", "19%", "[x]"):
        assert words in text
    assert "0 of 1 rows met" in text


def test_a_smoke_run_says_so_and_judges_nothing():
    stream = io.StringIO()
    terminal.show([replace(outcome(), scale="smoke")], [], Console(file=stream, width=120))
    assert "figures mean nothing" in stream.getvalue()
    assert "rows met" not in stream.getvalue()


def test_an_outcome_comes_back_from_its_file(tmp_path):
    assert read_outcome(tmp_path, "noise", "whole") is None
    outcome().write(tmp_path)
    assert read_outcome(tmp_path, "noise", "whole") == outcome()
    assert read_outcome(tmp_path, "noise", "smoke") is None
    (tmp_path / "noise.json").write_text('{"row": {}}')
    with pytest.raises(ValueError, match=r"noise\.json is not an outcome .* delete it"):
        read_outcome(tmp_path, "noise", "whole")


def test_the_processor_is_read_from_the_first_entry():
    first = "processor\t: 0\nmodel name\t: First\nflags\t\t: fpu avx2 avx512f amx_bf16\n"
    assert read_cpuinfo(first + "\nmodel name\t: Second\nflags\t: sve\n") == ("First", ("avx2", "avx512f", "amx_bf16"))
    assert read_cpuinfo("processor : 0\nFeatures : fp asimd sve\n") == ("", ("asimd", "sve"))
    assert read_cpuinfo("") == ("", ())


def test_this_machine_has_a_name_memory_and_versions():
    machine = read_machine()
    assert machine.processor
    assert machine.memory_bytes > 2**28
    assert {"Python", "pliant", "torch"} <= machine.versions.keys()


def test_a_busy_machine_is_told():
    assert busy_words(0.2, 2) == ""
    assert busy_words(1.5, 2).startswith("load average 1.5 on 2 cores")


def test_a_ratio_is_taken_round_by_round():
    found_ratio = ratio([2.0, 6.0, 12.0], [1.0, 2.0, 3.0])
    assert (found_ratio.value, found_ratio.low, found_ratio.high) == (3.0, 2.0, 4.0)
    figure = times_as_fast("case", "peer", [2.0, 6.0, 12.0], [1.0, 2.0, 3.0], 3.0)
    assert figure.met
    assert not replace(figure, target=3.1).met


def test_contestants_take_turns_at_being_first():
    order: list[str] = []
    runners = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = in_turns(runners, 3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_page_in_the_docs_takes_the_table():
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "| work |" in with_region(page, markdown([outcome()], [], "pliant bench"))
