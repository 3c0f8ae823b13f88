"""`pliant theory`: the table in a terminal and as JSON, the page as text, and one line for bad flags."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pliant.cli import main
from pliant.report.theory_page import write_theory_page
from pliant.theory.inflection import inflection
from pliant.theory.linear_model import TASKS, LinearModel
from pliant.theory.modes import power_law


@pytest.fixture
def theory(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*flags: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pliant", "theory", *flags])
        with pytest.raises(SystemExit) as left:
            main()
        return (left.value.code or 0, *capsys.readouterr())

    return run


SMALL = ("--rank", "16", "--alpha", "1", "--gammas", "0.2,0.05,0.1", "--horizon", "200")


def test_json_has_the_inflections(theory):
    code, out, _ = theory(*SMALL, "--json")
    assert code == 0
    told = json.loads(out)
    assert [row["gamma"] for row in told["inflections"]] == [0.05, 0.1, 0.2]
    row = told["inflections"][1]
    sigma = power_law(16, 1.0)
    found = inflection(0.1, sigma, 1e-6, 16, 16, 16, horizon=200.0)
    assert told["loss_unit"] == pytest.approx(np.sum(sigma**2))
    assert row["t_star"] == found.t_star
    assert row["twice_g"] == pytest.approx(0.32)
    assert row["t_star_predicted"] == pytest.approx(np.log(0.32 / 1e-6) / 0.64)
    assert [row[name] * told["loss_unit"] for name in ("loss", "drop", "rise")] == pytest.approx(
        [found.loss_star, found.drop, found.rise]
    )
    assert row["kind"] == found.kind == "U"
    assert Path(told["page"]) == Path("runs/theory.html")
    assert Path(told["page"]).is_file()


def test_table_in_the_terminal(theory):
    code, out, _ = theory(*SMALL, "--out", "deep/page.html")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["γ", "2g", "t*", "predicted", "t*", "loss", "there", "drop", "rise", "kind"]
    assert [line.split()[0] for line in lines[1:4]] == ["0.05", "0.1", "0.2"]
    assert lines[2].split()[-1] == "U"
    assert "page: deep/page.html" in out
    assert [path.name for path in Path("deep").iterdir()] == ["page.html"]


def test_page_asks_nothing_of_the_network(theory):
    theory(*SMALL)
    page = Path("runs/theory.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", own)
    assert "default-src 'none'" in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    panels = json.loads(data[1])
    assert list(panels) == ["features", "noise", "kept", "task", "decay", "anchor"]
    assert [line["name"] for line in panels["noise"]["lines"]] == ["0.05", "0.1", "0.2", "lowest"]
    for panel in panels.values():
        assert all(len(line["x"]) == len(line["y"]) > 0 for line in panel["lines"])


def test_default_strengths_are_a_geometric_range(theory):
    told = json.loads(theory("--rank", "4", "--json")[1])
    assert [row["gamma"] for row in told["inflections"]] == pytest.approx(np.geomspace(0.02, 0.11, 25).tolist())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_drawn(theory, task):
    assert theory("--rank", "3", "--gammas", "0.3", "--task", task, "--lambdas", "1")[0] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--gammas", "a,b"), "--gammas 'a,b' is no list: give numbers with commas, or LOW:HIGH:COUNT"),
        (("--gammas", "0.1:0.05:4"), "--gammas '0.1:0.05:4' is no range: give 0 < LOW < HIGH and a COUNT"),
        (("--gammas", "0,0.1"), "gammas is or contains 0: give finite numbers, more than zero"),
        (("--lambdas", "-1"), "lambdas is or contains -1: give finite numbers, zero or more"),
        (("--tau", "0"), "tau is or contains 0"),
        (("--rank", "0"), "rank is 0: give 1 or more"),
        (("--alpha", "nan"), "alpha is or contains nan"),
        (("--horizon", "-3"), "horizon is or contains -3"),
        (("--s0", "0.9"), "s0 is 0.9, but the weakest singular value is 0.0544: give an s0 below it"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(theory, flags, said):
    code, out, told = theory(*flags)
    assert (code, out) == (2, "")
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert not Path("runs").exists()


def test_the_page_needs_strengths_and_a_known_task(tmp_path):
    model = LinearModel(rank=2)
    with pytest.raises(ValueError, match="needs one noise strength"):
        write_theory_page(model, [], tmp_path / "t.html", task="same", tau=1.0, lambdas=[0.0])
    with pytest.raises(ValueError, match="no task is called 'odd': give one of reversed"):
        model.task("odd")
