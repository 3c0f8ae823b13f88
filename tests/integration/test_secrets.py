"""Tokens that are set where a run fails: neither its folder, nor what it prints, nor its report holds one."""

import sys
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants, hf_api

from loopback_hub import Fault, LoopbackHub
from pliant.cli import main
from pliant.execution.local import describe
from theirs import save_checkpoint

TOKEN = "hf_" + "PlantedTokenOfTheHub" * 2
KEY = "planted/Secret+Access/Key0123456789"
PASSWORD = "planted-password-in-an-address"
SECRETS = (TOKEN, KEY, PASSWORD)
STUDY = """
study: hub
corpus: markov:3
held_out: {tokens: 512, context: 16}
trajectories:
  - {name: theirs, checkpoints: tiny/run}
modifications:
  - noise: {scaling: relative, strengths: [0.1], draws: 1}
"""


@pytest.fixture
def planted(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """Two revisions of a private repository, at an address with a password, for those who have the token."""
    for number in (1, 2):
        hub.add(
            "tiny/run", f"step{number}000-tokens{number}B", folder=save_checkpoint(tmp_path / f"{number}", seed=number)
        )
    hub.private.add("tiny/run")
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTED0PLANTED0")
    monkeypatch.chdir(tmp_path)
    return hub


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and everything that was printed, also by libraries."""
    Path("study.yaml").write_text(STUDY)
    monkeypatch.setattr(sys, "argv", ["pliant", "run", "study.yaml", "--workers", "0", "--out", "study"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capfd.readouterr()
    return int(left.value.code or 0), said.out + said.err


def holding(folder: Path) -> list[str]:
    """The files below `folder` that hold a secret, and which."""
    return [
        f"{path.relative_to(folder)}: {secret}"
        for path in folder.rglob("*")
        if path.is_file()
        for secret in (*SECRETS, "AKIAPLANTED0PLANTED0")
        if secret.encode() in path.read_bytes()
    ]


def test_a_failing_run_tells_no_secret(
    planted: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commit = planted.repos["models", "tiny/run"].branches["step2000-tokens2B"]
    planted.faults[f"{commit}/model.safetensors"] = Fault(status=403)
    code, said = run(monkeypatch, capfd)
    assert (code, "answered 403" in said) == (2, True), said
    assert (Path("study") / "report.html").is_file()  # the other revision was measured
    assert holding(Path("study")) == []
    assert [secret for secret in SECRETS if secret in said] == []


def test_an_address_with_a_password_is_told_without(
    planted: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = planted.url.replace("http://", f"http://user:{PASSWORD}@")
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(hf_api.api, "endpoint", url)
    close_session()
    monkeypatch.setenv("HF_TOKEN", "hf_" + "AnotherThatMayNotRead" * 2)
    code, said = run(monkeypatch, capfd)
    assert (code, "no repository tiny/run at http://***@127.0.0.1" in said) == (2, True), said
    assert PASSWORD not in said
    assert not Path("study").exists()


def test_an_error_of_ours_with_its_traceback_is_told_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    try:
        raise RuntimeError(f"GET https://user:{PASSWORD}@host/x with Bearer {TOKEN} and {KEY}")
    except RuntimeError as error:
        told, _ = describe(error)
    assert "Traceback" in told
    assert [secret for secret in SECRETS if secret in told] == []
