"""Which rows are whose, and what cannot be asked of processes that share a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import tiny
from pliant.checkpoints.shards import held, own_rows, place_of_rows, shard_rows
from pliant.checkpoints.stored import open_stored
from pliant.checkpoints.weights import stored_tensors
from pliant.records.identity import identity
from pliant.records.numerics import Numerics
from pliant.studies.memory import SPARE, shards_that_fit
from pliant.studies.sharded_plan import check_shards
from pliant.studies.spec import SpecError
from pliant.training.cross_entropy import IGNORED
from pliant.training.loop import Batch
from pliant.training.sharded import rows_of_rank
from tiny_studies import is_one_line, of_checkpoints
from tiny_studies import tiny as tiny_study


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, ranks: int) -> None:
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "get_world_size", lambda: ranks)


@pytest.mark.parametrize(("rows", "ranks"), [(8, 2), (7, 2), (5, 4), (1, 3), (9, 4)])
def test_rows_are_cut_as_torch_cuts_them(rows: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.arange(rows * 2).view(rows, 2)
    chunks = list(tensor.chunk(ranks)) + [tensor[:0]] * ranks
    for rank in range(ranks):
        as_rank(monkeypatch, rank, ranks)
        assert torch.equal(tensor[shard_rows(rows)], chunks[rank])
        assert own_rows(tensor, tensor) is tensor  # not shared
        assert held(tensor) is tensor


@pytest.mark.parametrize("ranks", [2, 3, 50])
def test_the_rows_of_all_ranks_are_the_file(ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.save(tmp_path / "theirs")
    places = stored_tensors(tmp_path / "theirs")
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in places}
    for rank in range(ranks):
        as_rank(monkeypatch, rank, ranks)
        stored = open_stored({name: place_of_rows(place) for name, place in places.items()})
        for name in places:
            parts[name].append(stored[name])
    assert all(torch.equal(torch.cat(parts[name]), tensor) for name, tensor in model.named_parameters())


@pytest.mark.parametrize(("rows", "ranks"), [(8, 2), (5, 2), (1, 2), (3, 4), (7, 3)])
def test_each_row_of_a_batch_is_scored_once_in_passes_of_one_size(
    rows: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tiny.token_ids(rows)
    taken, sizes = [], set()
    for rank in range(ranks):
        as_rank(monkeypatch, rank, ranks)
        part = rows_of_rank(Batch(ids, ids))
        sizes.add(len(part.inputs))
        scored = (part.targets != IGNORED).any(dim=1)
        assert torch.equal(part.inputs[scored], part.targets[scored])
        taken += part.inputs[scored].tolist()
    assert taken == ids.tolist()
    assert len(sizes) == 1


def test_shards_are_part_of_what_a_record_is_and_none_moves_no_record() -> None:
    assert identity(Numerics(shards=2)) == {**identity(Numerics()), "shards": 2}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shards": 1}, "shards must be at least 2, got 1; leave it out for one process"),
        ({"shards": 2, "device": "mps"}, "shards needs device: cuda or cpu, got mps"),
        ({"shards": 2, "kernel": "lanes"}, "kernel: lanes is not there with shards"),
        ({"shards": 2, "trainer": "flat"}, "trainer: flat is not there with shards"),
        ({"shards": 2, "evaluation": "auto"}, "evaluation: auto is not there with shards"),
    ],
)
def test_plans_that_shards_do_not_go_with_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Numerics(**settings)


TUNE = {"task": "skip", "learning_rates": [0.1]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modifications": [{"quantise": {"bits": [4]}}]}, "quantise"),
        ({"modifications": [{"prune": {"shares": [0.5]}}]}, "prune"),
        ({"modifications": [{"interpolate": {"with": "first"}}]}, "interpolate"),
        (
            {"modifications": [{"noise": {"strengths": [0.1], "antithetic": False, "control": "gradient"}}]},
            "noise with control: gradient",
        ),
        ({"modifications": [{"fine_tune": {**TUNE, "adapter": {"rank": 2}}}]}, "fine_tune with adapter"),
        ({"modifications": [{"fine_tune": {**TUNE, "regularise": {"anchor": [0.1]}}}]}, "fine_tune with regularise"),
        ({"evaluations": [{"harness": {"tasks": ["arc-easy"]}}]}, "the evaluation harness"),
        ({"evaluations": [{"drift": {}}]}, "the evaluation drift"),
    ],
)
def test_studies_that_shards_cannot_do_are_refused_in_a_line(changes: dict[str, Any], said: str) -> None:
    spec = of_checkpoints([{"path": "theirs"}], **changes)
    check_shards(spec)
    with pytest.raises(SpecError) as caught:
        check_shards(spec.model_copy(update={"numerics": Numerics(shards=2)}))
    assert is_one_line(str(caught.value))
    assert str(caught.value).startswith(f"{said} is not there with numerics.shards")


def test_ladders_and_their_merges_are_refused() -> None:
    with pytest.raises(SpecError, match=r"^main: a ladder is not there with numerics\.shards"):
        check_shards(tiny_study({}).model_copy(update={"numerics": Numerics(shards=2)}))


def test_as_many_shards_as_hold_weights_gradients_and_two_moments() -> None:
    device = 80 * 10**9
    assert shards_that_fit(10**9, device) == 2  # 16 GB: it fits one, and two is the least
    assert shards_that_fit(8 * 10**9, device) == 2  # exactly: 128 GB = 2 x 0.8 x 80
    assert shards_that_fit(8 * 10**9 + 10**6, device) == 3
    assert shards_that_fit(70 * 10**9, device) == -(-70 * 16 // (80 * SPARE))
