"""Faults seeded into the formulas of pliant.theory, one at a time: the tests of that module must see each."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import pliant

TESTS = Path(__file__).parents[1]
SOURCE = Path(pliant.__file__).parent

FAULTS = {
    "flow: wrong side of the exponent": ("modes", "np.exp(-np.maximum(x, 0))", "np.exp(-np.maximum(-x, 0))"),
    "flow: weight decay helps": ("modes", "sigma - wd, s0, rate)", "sigma + wd, s0, rate)"),
    "descent: twice the step": ("modes", "eta * w[k] * (sigma", "2 * eta * w[k] * (sigma"),
    "learning time: rate forgotten": ("modes", "/ (rate * b)", "/ b"),
    "base loss: a factor one half": ("modes", "((sigma - s) ** 2) @", "(0.5 * (sigma - s) ** 2) @"),
    "sensitivity: m and n swapped": (
        "perturbed",
        "(total * g2, first) + np.multiply.outer(m * g1, second)",
        "(total * g1, first) + np.multiply.outer(m * g2, second)",
    ),
    "sensitivity: n lost from the last term": ("perturbed", "g1 * g2 * m * h * total", "g1 * g2 * m * h"),
    "sensitivity: covariance ignored": ("perturbed", "s @ mode_variances(cov, s.shape[-1])", "s.sum(axis=-1)"),
    "relative noise: no fourth power": ("perturbed", "2 * rho**2 + rho**4", "2 * rho**2"),
    "shrinkage: twice": ("perturbed", "* (m + n) / 2)", "* (m + n))"),
    "floor: hard instead of soft": ("perturbed", "sigma**2 - left**2", "sigma**2 - left * sigma"),
    "any weights: m and n swapped": ("perturbation", "n * g2**2 * np.sum(W1**2)", "m * g2**2 * np.sum(W1**2)"),
    "inflection: first local minimum": (
        "inflection",
        "int(np.argmin(curve))",
        "int(np.flatnonzero(np.diff(curve, append=np.inf) > 0)[0])",
    ),
    "inflection: weight decay left out of the slope": ("inflection", "(sigma - wd - s) * (g", "(sigma - s) * (g"),
    "inflection: threshold on one side only": ("inflection", "if not rises", "if not falls"),
    "inflection: mode turns at twice g": ("inflection", "sigma - shrinkage", "sigma - 2 * shrinkage"),
    "prediction: half": ("inflection", "/ (2 * safe)", "/ (4 * safe)"),
    "fine-tuning: weight decay lost": ("finetune", "sf - wd, s_T)", "sf, s_T)"),
    "anchor: at zero": ("finetune", "lam * (w - w0)", "lam * w"),
    "fixed point: anchor squared": ("finetune", "lam * w0, slope", "lam * w0**2, slope"),
    "riccati: half the exponent": ("riccati", "exprel(2 * rates * dt)", "exprel(rates * dt)"),
    "riccati: one long step": ("riccati", "(t[k] - now) / max_exp)", "min(t[k] - now, max_exp) / max_exp)"),
    "lazy: filter without its rate": ("lazy", "exprel(-(kappa + lam) * duration)", "exprel(-kappa * duration)"),
    "lazy: diagonal counted once": ("lazy", "+ right[:, None, :]", "+ 0 * right[:, None, :]"),
}  # fmt: skip


def copy_with(folder: Path, module: str, old: str, new: str) -> None:
    """A package folder/pliant that is this one but for one replacement in theory/<module>.py."""
    (folder / "pliant").mkdir()
    for entry in SOURCE.iterdir():
        if entry.name not in ("theory", "__pycache__"):
            (folder / "pliant" / entry.name).symlink_to(entry)
    theory = shutil.copytree(
        SOURCE / "theory", folder / "pliant" / "theory", ignore=shutil.ignore_patterns("__pycache__")
    )
    file = theory / f"{module}.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module}.py: name the fault's place anew"
    file.write_text(text.replace(old, new), encoding="utf-8")


def run_tests(folder: Path, files: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--rootdir", str(folder)]
    here = f"import pliant, pytest, sys; assert pliant.__file__.startswith({str(folder)!r}); "
    script = here + "sys.exit(pytest.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", script, *options, *map(str, files)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_seen(fault: str, tmp_path: Path) -> None:
    """By the tests of its own module."""
    copy_with(tmp_path, *FAULTS[fault])
    done = run_tests(tmp_path, [TESTS / "unit" / f"test_theory_{FAULTS[fault][0]}.py"])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_fault_all_pass(tmp_path: Path) -> None:
    copy_with(tmp_path, "modes", "def power_law(", "def power_law(")
    done = run_tests(tmp_path, [*TESTS.glob("unit/test_theory_*.py"), *TESTS.glob("property/test_theory_*.py")])
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
