"""`pliant bench`: what is kept is not measured again, what cannot run is a line, and the others go on."""

import json
import sys
from dataclasses import replace

import pytest

from benchmark_rows import MACHINE, ROW, outcome
from pliant.benchmarks import machine as machines
from pliant.benchmarks import running
from pliant.benchmarks.rows import BENCHMARKS, Benchmark
from pliant.benchmarks.table import BEGIN, END
from pliant.cli import main
from tiny_studies import is_one_line


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run the command on three benchmarks that take no time: `good`, `bad` crashes, `idle` lacks its package.

    Returns the exit code, standard output, standard error and the names that were run.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(machines, "read_machine", lambda: MACHINE)
    for name in list(BENCHMARKS):
        monkeypatch.delitem(BENCHMARKS, name)
    for name in ("good", "bad", "idle"):
        needs = ("no_such_package",) if name == "idle" else ()
        monkeypatch.setitem(BENCHMARKS, name, Benchmark(module=name, title=f"the {name} one", needs=needs))
    ran: list[str] = []

    def run(name, benchmark, scale, machine, tell):
        ran.append(name)
        tell("at work")
        if name == "bad":
            raise running.Crashed('Traceback (most recent call last):\n  File "x"\nValueError: no luck\n', 1)
        return outcome(name)

    monkeypatch.setattr(running, "run", run)

    def call(*flags: str) -> tuple[int, str, str, list[str]]:
        ran.clear()
        monkeypatch.setattr(sys, "argv", ["pliant", "bench", *flags])
        with pytest.raises(SystemExit) as left:
            main()
        return (left.value.code or 0, *capsys.readouterr(), list(ran))

    return call


def test_one_crash_and_one_missing_package_are_a_line_each_and_the_rest_goes_on(bench):
    code, out, err, ran = bench()
    assert (code, ran) == (1, ["good", "bad"])
    assert "47.0x" in out
    assert "not measured: bad: failed: ValueError: no luck" in out
    needs = "idle: needs no-such-package, which is not installed: pip install 'pliant[bench]'"
    assert f"not measured: {needs}" in out
    assert needs in err.splitlines()
    assert "2 to measure, about 10 minutes" in err
    assert "[2/2] bad: the bad one, about 5:00" in err
    assert "0:00  at work" in err
    assert "failed: ValueError: no luck (--verbose prints where)" in err
    assert "Traceback" not in err


def test_verbose_prints_the_traceback(bench):
    assert "Traceback (most recent call last):" in bench("bad", "--verbose")[2]


def test_what_is_kept_is_not_measured_again(bench):
    assert bench("good")[3] == ["good"]
    code, out, err, ran = bench("good")
    assert (code, ran) == (0, [])
    assert "47.0x" in out
    assert "good: kept from 2026-11-22 (--again measures anew)" in err
    assert bench("good", "--again")[3] == ["good"]
    assert bench("good", "--out", "elsewhere")[3] == ["good"]


def test_what_was_kept_with_other_versions_is_measured_anew(bench, monkeypatch):
    bench("good")
    other = MACHINE.versions | {"torch": "2.14.0"}
    monkeypatch.setattr(machines, "read_machine", lambda: replace(MACHINE, versions=other))
    _, _, err, ran = bench("good")
    assert ran == ["good"]
    assert "good: kept from another machine or other versions (Python 3.11.7, torch 2.13.0): measured anew" in err


def test_show_runs_nothing(bench):
    bench("good")
    code, out, _, ran = bench("--show")
    assert (code, ran) == (0, [])
    assert "47.0x" in out
    assert "not measured: bad: not measured yet" in out


def test_json_has_every_figure(bench):
    told = json.loads(bench("good", "--json")[1])
    assert told["rows"][0]["row"]["figures"][0]["value"] == ROW.figures[0].value
    assert told["rows"][0]["met"] is False
    assert told["not_measured"] == []


def test_the_list_says_how_long_each_takes(bench):
    bench("good")
    listed = {row["name"]: row for row in json.loads(bench("--list", "--json")[1])}
    assert listed["good"] == {"name": "good", "title": "the good one", "minutes": 1.5, "state": "kept from 2026-11-22"}
    assert listed["bad"]["minutes"] == 5.0
    assert listed["idle"]["state"].startswith("needs no-such-package")


def test_the_page_is_written_between_its_markers(bench, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    bench("--markdown", str(page))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| work |")
    assert text.endswith(f"{END}\nafter\n")
    assert "- not measured: bad: failed: ValueError: no luck" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nought"], "no benchmark 'nought'; known are good, bad, idle"),
        (["--smoke", "--markdown", "page.md"], "the figures of --smoke mean nothing"),
        (["good", "--markdown", "page.md"], "--markdown writes the whole table"),
        (["--markdown", "bare.md"], f"bare.md: no lines {BEGIN} and {END}"),
        (["--markdown", "absent.md"], "absent.md"),
        (["--again", "--show"], "--again measures and --show runs nothing"),
        (["--list", "--smoke"], "--smoke has no effect with --list"),
        (["--list", "--show"], "give --list or --show, not both"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(bench, tmp_path, flags, words):
    (tmp_path / "bare.md").write_text("no markers")
    code, out, err, ran = bench(*flags)
    assert (code, out, ran) == (2, "", [])
    assert is_one_line(err.rstrip())
    assert words in err


def finish(script: str, told: list[str]):
    return running._finish([sys.executable, "-c", script], 1, told.append)


def test_a_process_tells_its_progress_and_ends_with_its_row():
    told: list[str] = []
    script = (
        "import json, os, sys; print('step', file=sys.stderr); print('noise'); "
        "print(json.dumps({'threads': os.environ['OMP_NUM_THREADS']}))"
    )
    assert finish(script, told) == {"threads": "1"}
    assert told == ["step"]


def test_a_process_that_fails_is_its_last_line():
    told: list[str] = []
    with pytest.raises(running.Crashed, match=r"^ZeroDivisionError: division by zero$") as found:
        finish("import sys; print('step', file=sys.stderr, flush=True); 1 / 0", told)
    assert told == ["step"]
    assert "Traceback" in found.value.told
    with pytest.raises(running.Crashed, match="it ended with exit code 3 and said nothing"):
        finish("import os; os._exit(3)", told)
