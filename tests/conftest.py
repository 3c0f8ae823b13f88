"""What every test runs under: one thread, no network, shapes and types checked in the numeric packages."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports torch: it reads the thread count once.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Tests that give pliant a cache of their own, and the processes they start, share what numba compiled.
    "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "pliant")),
}

# Shells start jobs in the background with Ctrl-C ignored, and so would be what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping
import pytest

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub

CHECKED = ["data", "evaluation", "modifications", "statistics", "theory", "training"]
CHROMIUM = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
]

sys.path.insert(0, str(Path(__file__).parent))
jaxtyping.install_import_hook([f"pliant.{package}" for package in CHECKED], "checked.by_annotation")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for playwright's `executable_path`; without one, skipped, or in CI failed."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"no Chromium found (looked for {', '.join(CHROMIUM)}): install the package chromium")
    return found


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["LoopbackHub"]:
    """An empty Hub on loopback that the real client in this process takes for the Hub; caches below `tmp_path`."""
    from hub_fixtures import loopback

    with loopback(tmp_path, monkeypatch) as running:
        yield running
