"""What people write for checkpoints."""

from pathlib import Path

import pytest

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.sources import Folder, Repository, anchored, read_source


@pytest.mark.parametrize(
    ("text", "repo", "revisions"),
    [
        ("allenai/OLMo-1B-hf", "allenai/OLMo-1B-hf", "*"),
        ("allenai/OLMo-1B-hf@step1000-tokens4B", "allenai/OLMo-1B-hf", "step1000-tokens4B"),
        ("pretrained=EleutherAI/pythia-160m,revision=step3000", "EleutherAI/pythia-160m", "step3000"),
        ("pretrained=EleutherAI/pythia-160m", "EleutherAI/pythia-160m", "*"),
    ],
)
def test_names_of_repositories(text: str, repo: str, revisions: str):
    assert read_source(text) == Repository(repo=repo, revisions=revisions)


def test_a_folder_comes_before_a_repository_of_its_name(tmp_path: Path):
    (tmp_path / "ladder" / "artifacts").mkdir(parents=True)
    assert read_source("ladder/artifacts", below=tmp_path) == Folder(path=tmp_path / "ladder" / "artifacts")
    assert read_source("ladder/others", below=tmp_path) == Repository(repo="ladder/others")
    (tmp_path / "org" / "name@v2").mkdir(parents=True)
    assert read_source("org/name@v2", below=tmp_path / "") == Folder(path=tmp_path / "org" / "name@v2")


def test_revisions_may_stand_apart():
    assert read_source("org/name", revisions="step*,main") == Repository(repo="org/name", revisions="step*,main")
    assert str(read_source("org/name", revisions="step*")) == "org/name@step*"
    assert str(read_source("org/name")) == "org/name"


@pytest.mark.parametrize(
    ("text", "revisions", "message"),
    [
        ("./nowhere", None, "no checkpoint folder at .*nowhere; give a folder, a Hub repository"),
        ("a/b/c", None, "no checkpoint folder at a/b/c"),
        ("org/name@step1", "step*", "names its revision, and revisions 'step\\*' are given, too"),
        ("pretrained=org/name,dtype=float16", None, "dtype= means nothing here"),
    ],
)
def test_bad_sources(text: str, revisions: str | None, message: str):
    with pytest.raises(CheckpointError, match=message):
        read_source(text, revisions=revisions)


def test_a_folder_has_no_revisions(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is a folder on disk, which has no revisions"):
        read_source(str(tmp_path), revisions="step*")


def test_relative_paths_are_taken_from_the_given_folder(tmp_path):
    (tmp_path / "run").mkdir()
    for text, expected in (
        ("run", f"{tmp_path}/run"),
        ("pretrained=run", f"pretrained={tmp_path}/run"),
        ("nowhere", f"{tmp_path}/nowhere"),
        (str(tmp_path / "run"), f"{tmp_path}/run"),
        ("allenai/OLMo-1B-hf@step1000", "allenai/OLMo-1B-hf@step1000"),
        ("pretrained=allenai/OLMo-1B-hf,revision=main", "pretrained=allenai/OLMo-1B-hf,revision=main"),
    ):
        assert anchored(text, below=tmp_path) == expected
    assert read_source(anchored("pretrained=run", below=tmp_path)).path == tmp_path / "run"
