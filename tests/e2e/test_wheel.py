"""A wheel builds, installs into a clean environment, and `pliant demo` works from it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
CORPUS_BYTES_AT_MOST = 4_500_000


def run(*command: str | Path, cwd: Path) -> str:
    """What `command` prints, outside the source tree and without its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools leaves build/ next to the sources and would pack what it finds there next time.
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, folder, cwd=folder)
    (built,) = folder.glob("pliant-*.whl")
    return built


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment that holds the wheel and what it requires, nothing else."""
    environment = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", environment, cwd=environment.parent)
    (torch,) = (line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    run(*pip, "--constraint", CONSTRAINTS, torch, wheel, cwd=environment.parent)
    return environment / "bin"


def test_embedded_data_and_licences_are_inside_and_small(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    assets = {name: size for name, size in sizes.items() if name.startswith("pliant/data/assets/")}
    assert 0 < sum(assets.values()) <= CORPUS_BYTES_AT_MOST, assets
    assert "pliant/py.typed" in sizes
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in sizes if "dist-info/licenses" in name}


def test_says_its_version(wheel: Path, binaries: Path, tmp_path: Path):
    assert wheel.name.split("-")[1] in run(binaries / "pliant", "--version", cwd=tmp_path)


def test_demo_explains_itself(binaries: Path, tmp_path: Path):
    assert "--out" in run(binaries / "pliant", "demo", "--help", cwd=tmp_path)


def test_a_shrunken_demo_ends_in_a_report(binaries: Path, tmp_path: Path):
    run(binaries / "pliant", "demo", "--scale", "0.02", "--out", tmp_path / "demo", cwd=tmp_path)
    (report,) = (tmp_path / "demo").rglob("report.html")
    assert "<html" in report.read_text(encoding="utf-8")
