"""`import pliant` and `pliant --help` stay light: counted in modules, since seconds depend on the machine."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "tokenizers", "scipy", "pyarrow", "plotly"}
HELP = """
from pliant.cli import main
sys.argv = ["pliant", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
"""


def modules_loaded_by(statements: str) -> set[str]:
    """Names a fresh interpreter has in sys.modules after `statements` and did not have before."""
    script = f"import json, sys\nbefore = set(sys.modules)\n{statements}\n"
    script += "print('\\n' + json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("statements", "at_most"),
    [
        pytest.param("import pliant", 50, id="import pliant"),
        # typer, rich and pydantic are about 400 of these; the standard library's share varies by version.
        pytest.param(HELP, 700, id="pliant --help"),
    ],
)
def test_loads_no_heavy_package_and_few_modules(statements, at_most):
    loaded = modules_loaded_by(statements)
    assert not HEAVY & loaded, f"{sorted(HEAVY & loaded)}: import them inside the function that needs them"
    assert len(loaded) <= at_most, f"{len(loaded)} modules: {sorted(loaded)}"


def test_every_public_name_resolves():
    modules_loaded_by("import pliant\nfor name in pliant.__all__: getattr(pliant, name)")


def test_module_answers_like_the_command():
    command = [sys.executable, "-m", "pliant", "--help"]
    assert "demo" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
