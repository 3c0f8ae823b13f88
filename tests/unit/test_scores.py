"""A user's own CSV: the same numbers as computed by hand, a planted inflection found, and clear refusals."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import pliant
from pliant.report import summarise
from pliant.report.scores import ScoresError, read_scores
from pliant.report.summary import StudySummary
from pliant.theory.inflection import inflection
from pliant.theory.modes import power_law
from pliant.theory.perturbed import perturbed_loss


def judged(path: Path, margin: float = 0.01) -> StudySummary:
    (study,) = summarise([read_scores(path)], margin=margin).studies
    return study


def write(path: Path, header: str, lines: Iterable[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


SIGMA, S0, GAMMA = power_law(64, 0.7), 1e-6, 0.05


def simulated(path: Path, *, runs: int, noise: float, gamma: float = GAMMA, times: np.ndarray | None = None) -> Path:
    """Losses of the two-layer linear network at twelve budgets, with noise of run x budget."""
    generator = np.random.default_rng(5)
    times = np.geomspace(4.0, 60.0, 12) if times is None else times
    lines = []
    for strength in (0.0, gamma):
        loss = 5 + perturbed_loss(times, strength, SIGMA, S0, 64, 64, 64)
        for seed in range(runs):
            values = loss + noise * generator.normal(size=len(times))
            lines += [f"t{t:.1f},{t * 1e6:.0f},{strength},{seed},{v}" for t, v in zip(times, values, strict=True)]
    return write(path, "checkpoint,tokens,strength,seed,value", lines)


def test_a_planted_inflection_comes_back(tmp_path: Path) -> None:
    study = judged(simulated(tmp_path / "scores.csv", runs=4, noise=0.01))
    noisy = next(f for f in study.findings if f.strength == GAMMA)
    times = np.geomspace(4.0, 60.0, 12)
    truth = inflection(GAMMA, SIGMA, S0, 64, 64, 64, horizon=60.0)
    nearest = np.argsort(np.abs(np.log(times / truth.t_star)))[:2] * 1.0
    assert any(abs(noisy.minimum.budget - times[int(k)] * 1e6) < 1 for k in nearest)
    lowest = times[np.argmin(perturbed_loss(times, GAMMA, SIGMA, S0, 64, 64, 64))] * 1e6
    assert any(abs(lowest - budget) < 1 for budget in noisy.minimum.candidates)
    assert noisy.judgement.words == "worse"
    (advice,) = study.advice
    assert advice.overtrained_from == max(noisy.minimum.candidates)
    assert advice.confirmation is None


def test_decreasing_data_are_not_overtrained_in_range(tmp_path: Path) -> None:
    study = judged(simulated(tmp_path / "scores.csv", runs=4, noise=0.001, times=np.geomspace(2.0, 14.0, 8)))
    (advice,) = study.advice
    assert advice.verdict == "not worse"
    assert advice.overtrained_from is None
    assert "not overtrained in range" in advice.words


def test_noisy_data_are_undecided_and_say_what_would_decide(tmp_path: Path) -> None:
    study = judged(simulated(tmp_path / "scores.csv", runs=2, noise=0.5))
    finding = next(f for f in study.findings if f.strength == GAMMA)
    assert finding.judgement.verdict == "undecided"
    assert finding.judgement.needed is not None
    assert "overtrained? undecided" in study.advice[0].words


def test_interval_of_a_csv_is_the_t_interval_of_its_runs(tmp_path: Path) -> None:
    values = {1: (3.0, 1.0, 2.0), 2: (3.1, 1.2, 2.4), 3: (3.0, 1.1, 2.0)}
    lines = [f"c{k},{10**k}M,0.1,{s},{v}" for s, row in values.items() for k, v in enumerate(row)]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,seed,value", lines))
    (finding,) = study.findings
    rises = [row[2] - row[1] for row in values.values()]
    expected = stats.t.interval(0.95, 2, loc=np.mean(rises), scale=stats.sem(rises))
    assert (finding.minimum.rise.low, finding.minimum.rise.high) == pytest.approx(expected)
    assert any("No base loss was given" in caveat for caveat in study.caveats)


def test_blocks_are_weighted_by_their_tokens_and_make_a_level(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    lines, expected = [], []
    for k in range(3):
        counts, losses = generator.integers(5, 50, 40), generator.normal(2 + abs(k - 1), 0.1, 40)
        lines += [f"c{k},{k + 1}B,1,{b},{n},{v}" for b, (n, v) in enumerate(zip(counts, losses, strict=True))]
        expected.append(np.average(losses, weights=counts))
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,block,count,value", lines))
    (finding,) = study.findings
    assert finding.minimum.rise.value == pytest.approx(expected[2] - expected[1])
    assert finding.minimum.rise.levels == ("held-out text",)
    assert finding.judgement.words == "worse in this run"


def test_checkpoints_without_tokens_keep_the_order_of_the_file(tmp_path: Path) -> None:
    lines = [f"{name},1,{v}" for name, v in (("early", 2), ("middle", 1), ("late", 1.5))]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,strength,value", lines))
    assert study.advice[0].checkpoint == "middle"
    assert "nothing to test with" in study.advice[0].words


def test_values_that_are_no_number_are_left_out_and_said(tmp_path: Path) -> None:
    lines = [f"c{k},{k + 1}B,.1,{s},{'nan' if (k, s) == (1, 2) else 3 - k + s / 9}" for k in range(3) for s in range(3)]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,seed,value", lines))
    assert study.findings[0].minimum.rise.seeds == (0, 1)
    assert any("diverged" in caveat for caveat in study.caveats)
    assert any("Run 2 not measured at every budget" in caveat for caveat in study.caveats)


def test_the_same_from_python(tmp_path: Path) -> None:
    path = simulated(tmp_path / "scores.csv", runs=3, noise=0.01)
    assert pliant.verdict(path, margin=0.02).studies[0].findings == judged(path, margin=0.02).findings


def test_any_other_modification_is_judged_too(tmp_path: Path) -> None:
    after = {0: (3.0, 2.0, 1.0, 0.0), 0.5: (3.0, 2.3, 2.2, 2.7)}
    lines = [
        f"c{k},{k + 1}B,{strength},{s},prune,{value + s / 99}"
        for strength, values in after.items()
        for k, value in enumerate(values)
        for s in (1, 2)
    ]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,seed,modification,value", lines))
    (advice,) = study.advice
    assert advice.words.startswith("Pruning, share 0.5: take 3B; overtrained by 4B: worse")
    assert "1 of 1 curves under pruning" in study.headline


def test_a_last_checkpoint_that_diverged_leaves_no_all_clear(tmp_path: Path) -> None:
    lines = [f"c{k},{2**k}B,.1,{d},{'inf' if (k, d) == (3, 2) else 3 - k + d / 99}" for k in range(4) for d in range(4)]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,draw,value", lines))
    (advice,) = study.advice
    assert "8B diverged, so nothing is said of overtraining" in advice.words
    assert advice.overtrained_from is None


def test_advice_names_a_strength_that_survives_holm(tmp_path: Path) -> None:
    """The smallest strength is worse by itself, hardly; the largest beyond doubt: the advice speaks of the latter."""
    rises = {0.1: (0.05, 0.03, 0.06), 0.2: (1.0, 1.001, 1.002)} | dict.fromkeys((0.3, 0.4, 0.5), (0.0, 0.01, -0.01))
    lines = [
        f"c{k},{k + 1}B,{g},{s},{(3, 2, 2 + rise)[k]}"
        for g, runs in rises.items()
        for s, rise in enumerate(runs)
        for k in range(3)
    ]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,seed,value", lines))
    smallest = next(f for f in study.findings if f.strength == 0.1)
    assert smallest.judgement.verdict == "worse"
    assert smallest.p_holm > 0.05
    assert study.advice[0].target == "Noise γ 0.2"


def test_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    path = simulated(tmp_path / "scores.csv", runs=3, noise=0.01)
    header, *lines = path.read_text().splitlines()
    turned = (
        write(tmp_path / "turned" / "scores.csv", header, lines[::-1])
        if (tmp_path / "turned").mkdir() is None
        else path
    )
    first, second = (judged(p).findings[-1].minimum.rise for p in (path, turned))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_rate_that_falls_along_the_budgets_is_named(tmp_path: Path) -> None:
    lines = [f"c{k},{k + 1}B,{g},{3 - k},{1e-3 / 2**k}" for k in range(3) for g in (0, 0.1)]
    study = judged(write(tmp_path / "mine.csv", "checkpoint,tokens,strength,value,learning_rate", lines))
    assert study.confounds[0].decays
    assert any("tokens and decay cannot be told apart here" in caveat for caveat in study.caveats)
    steady = [f"c{k},{k + 1}B,{g},{3 - k},0.001" for k in range(3) for g in (0, 0.1)]
    study = judged(write(tmp_path / "flat.csv", "checkpoint,tokens,strength,value,learning_rate", steady))
    assert not study.confounds[0].decays


HEADER = "checkpoint,tokens,strength,value"


@pytest.mark.parametrize(
    ("header", "lines", "said"),
    [
        ("", [], "has no column checkpoint"),
        (HEADER, [], "holds no scores"),
        ("checkpoint,strenght,value", ["a,1,2"], "has no column strength"),
        (HEADER + ",sed", ["a,1B,1,2,3"], "did you mean seed?"),
        (HEADER + ",tokens", ["a,1B,1,2,3"], "a column is there twice"),
        (HEADER, ["a,1B,.1,1", "a,1B,.1,1"], "line 3: this score was given before, on line 2"),
        (HEADER, ["a,1B,.1,1", "b,2B,x,1"], "line 3: strength is 'x'"),
        (HEADER, ["a,1B,-1,1"], "strength -1 is negative"),
        (HEADER, ["a,1B,inf,1"], "give a finite number"),
        (HEADER, ["a,1B,.1,1"], "holds one checkpoint, a"),
        (HEADER, ["a,1B,0,1", "b,2B,0,1"], "nothing was modified"),
        (HEADER, ["a,1B,.1,1", "a,2B,0,1"], "a checkpoint has one budget"),
        (HEADER, ["a,1B,.1,1", "b,,.1,1"], "for all or for none"),
        (HEADER, ["a,lots,.1,1"], "'lots' is not a token count"),
        (HEADER, [",1B,.1,1"], "no checkpoint is named"),
        (HEADER, ["a,0.1,3,14,1"], "5 fields, the header has 4"),
        (HEADER, ["a,1B,0.1"], "3 fields, the header has 4"),
        (HEADER, ["a,1B,.1,"], "no value; leave the line out"),
        (HEADER, ["a,1B,.1,-2"], "is negative; a loss in nats"),
        (HEADER, ["a,1B,.1,2", "b,1B,.1,2"], "checkpoints a and b both have 1,000,000,000 tokens"),
        (HEADER + ",modification", ["a,1B,.1,2,finetune"], "did you mean fine-tune?"),
        (HEADER + ",evaluation", ["a,1B,.1,2,accuracy"], "known are pretraining-loss, task-loss"),
        (HEADER + ",evaluation", ["a,1B,.1,2,task-loss"], "after modification fine-tune only"),
        (HEADER + ",split", ["a,1B,.1,2,Test"], "did you mean test?"),
        (HEADER + ",scaling", ["a,1B,.1,2,Init"], "did you mean init?"),
        (HEADER + ",bytes_per_token", ["a,1B,.1,2,0"], "give a number above 0"),
        (HEADER + ",block", ["a,1B,.1,2,0", "b,2B,.1,2,1"], "not the same blocks as on line 2"),
        (HEADER + ",draw,sign", ["a,1B,.1,2,0,1", "b,2B,.1,2,0,1"], "lacks its other sign"),
        (HEADER + ",unit", ["a,1B,.1,1,nats", "b,2B,.1,1,bits"], "unit 'bits'"),
        (HEADER + ",seed", ["a,1B,.1,1,1.5"], "give a whole number"),
        (HEADER + ",annealed", ["a,1B,.1,1,maybe"], "give true or false"),
        (HEADER + ",count", ["a,1B,.1,1,0"], "give the tokens of the block"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, header: str, lines: list[str], said: str) -> None:
    path = write(tmp_path / "bad.csv", header, lines)
    with pytest.raises(ScoresError) as refused:
        judged(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match="cannot be read as CSV"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScoresError, match="cannot be read as CSV"):
        read_scores(tmp_path / "binary.csv")
