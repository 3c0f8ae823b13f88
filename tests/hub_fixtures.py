"""The real Hub client turned to a Hub on loopback, in this process; for subprocesses see `LoopbackHub.environment`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants, hf_api

from loopback_hub import LoopbackHub


def turn_to(url: str, home: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the client take `url` for the Hub and keep its cache and tokens below `home`: it reads these at import."""
    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "huggingface" / "hub"))
    patch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "huggingface" / ".agent_harnesses.json"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "huggingface" / "token"))
    patch.setattr(hf_api.api, "endpoint", url)
    patch.setenv("PLIANT_CACHE", str(home / "pliant"))
    patch.delenv("HF_TOKEN", raising=False)
    if "datasets" in sys.modules:  # a session with dataset tests: it has read the environment, too
        patch.setattr(sys.modules["datasets"].config, "HF_ENDPOINT", url)
    close_session()


@contextmanager
def loopback(home: Path, patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub that the client in this process asks, for the length of a `with`."""
    with LoopbackHub() as running:
        turn_to(running.url, home, patch)
        yield running
        close_session()
