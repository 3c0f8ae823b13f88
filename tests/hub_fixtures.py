"""The real Hub client turned to a Hub on loopback, in this process; for subprocesses see `LoopbackHub.environment`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
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
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "huggingface" / "token"))
    patch.setattr(hf_api.api, "endpoint", url)
    patch.setenv("PLIANT_CACHE", str(home / "pliant"))
    patch.delenv("HF_TOKEN", raising=False)
    if "datasets" in sys.modules:
        patch.setattr(sys.modules["datasets"].config, "HF_ENDPOINT", url)
    assert huggingface_hub.HfApi().endpoint == url
    close_session()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub on loopback that the client in this process asks; its caches are below `tmp_path`."""
    with LoopbackHub() as running:
        turn_to(running.url, tmp_path, monkeypatch)
        yield running
        close_session()
