"""`pliant audit` on real tiny checkpoints: table, JSON, exit code, and the loss on held-out text."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

import tiny
from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.trajectory import trajectory
from pliant.cli import app
from pliant.data.markov import MarkovLanguage, MarkovWindows
from pliant.execution.engine import UserError
from pliant.studies.auditing import audit
from pliant.training.cross_entropy import cross_entropies

LANGUAGE = "markov:7"
SYMBOLS = 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Six checkpoints of one run on a Markov language, whose loss falls."""
    root = tmp_path_factory.mktemp("trained")
    network = build_model(tiny.architecture(), SYMBOLS, 0)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    windows = torch.from_numpy(
        MarkovWindows(language=MarkovLanguage(7), stream="train", seed=0, context=12).windows(0, 64 * 240)
    )
    for step in range(240):
        batch = windows[64 * step : 64 * (step + 1)]
        loss = cross_entropies(network(input_ids=batch[:, :-1]).logits, batch[:, 1:]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % 40 == 0:
            folder = root / f"step{step + 1}-tokens{(step + 1) * 768}"
            folder.mkdir()
            save_weights(network, folder)
            About(seed=1).write(folder)
    return root


def pliant(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)], catch_exceptions=False)


def test_a_real_run_is_clean(trained):
    done = pliant(trained, "--corpus", LANGUAGE, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["findings"] == []
    losses = [row["loss_nats"] for row in found["checkpoints"]]
    assert losses == sorted(losses, reverse=True)


def test_duplicate_truncated_and_retrained_are_named(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    names = [member.name for member in trajectory(run).members]
    shutil.copy(run / names[5] / "model.safetensors", run / names[1])
    cut = run / names[2] / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:3000])
    save_weights(build_model(tiny.architecture(), SYMBOLS, 9), run / names[4])
    found = audit(trajectory(run).members, corpus=LANGUAGE).findings
    named = {(one.check, one.checkpoints) for one in found if one.level == "error"}
    assert {("duplicate", (names[1], names[5])), ("cut-short", (names[2],))} <= named
    assert any(check == "sanity-loss" and names[4] in which for check, which in named)
    done = pliant(run, "--depth", "weights")
    assert done.exit_code == 1
    assert "final weights under early names" in " ".join(done.stdout.split())
    assert "errors in 3 of 6 checkpoints" in done.stdout


def test_strict_counts_warnings(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = run / trajectory(run).members[0].name / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.5}))
    assert pliant(run, "--depth", "metadata").exit_code == 0
    assert pliant(run, "--depth", "metadata", "--strict").exit_code == 1


def test_too_little_text_is_refused(trained):
    with pytest.raises(UserError, match=r"--tokens 50 is too few for a paired interval over windows of 12; .* 96"):
        audit(trajectory(trained).members, corpus=LANGUAGE, tokens=50)
