"""Segments of a ladder: killed and resumed, or branched off a trunk, they end with the bits of a single loop."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

import tiny
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import open_checkpoint
from pliant.data.tokenizers import open_tokenizer
from pliant.records.identity import identity
from pliant.records.numerics import Numerics
from pliant.training.decoder import choose_forward
from pliant.training.loop import adamw, train
from pliant.training.pretraining import Recipe, Run, Segment, _batches, run_segment, state_is_whole
from pliant.training.schedules import Schedule
from pliant.training.state import latest_snapshot

ROWS, TOTAL = 4, 25


class Killed(BaseException):
    """Stands for a signal: nothing in the code under test may catch it."""


@dataclasses.dataclass(frozen=True)
class DyingStream:
    """The windows of another source until step `dies_at` is asked for."""

    source: object
    dies_at: int

    def __getattr__(self, name):
        return getattr(self.source, name)

    def windows(self, start, stop):
        if start == self.dies_at * ROWS:
            raise Killed
        return self.source.windows(start, stop)


def a_run(seed=0, kind="wsd", **changes):
    schedule = Schedule(kind=kind, warmup_steps=3, decay_fraction=0.2) if kind == "wsd" else Schedule(kind=kind)
    settings = {
        "architecture": tiny.architecture(**changes),
        "vocabulary_size": tiny.VOCABULARY,
        "recipe": Recipe(learning_rate=0.01, batch_windows=ROWS, schedule=schedule),
        "recipe_digest": "recipe",
        "seed": seed,
        "numerics": Numerics(),
        "bytes_per_token": 1.0,
    }
    return Run(**settings)


def segment(tmp_path, out, run=None, start=0, stop=TOTAL, total=TOTAL, begin_from=None, source=None, **changes):
    settings = {
        "begin_from": begin_from,
        "out": tmp_path / out,
        "scratch": tmp_path / f"{out}-snapshots",
        "keep_optimizer": True,
        "snapshot_seconds": math.inf,
        "progress": lambda share, facts: None,
    }
    run_segment(
        run or a_run(),
        Segment(start=start, stop=stop, total=total),
        source or tiny.stream(),
        open_tokenizer("bytes"),
        **(settings | changes),
    )
    return tmp_path / out


def state_bytes(folder):
    return [(folder / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors", "pliant.json")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return {
        family: segment(tmp_path_factory.mktemp(family), "whole", run=a_run(family=family))
        for family in ("llama", "olmo2")
    }


@pytest.mark.parametrize("family", ["llama", "olmo2"])
@pytest.mark.parametrize("dies_at", [1, 13, TOTAL - 1])
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path, uninterrupted, family, dies_at):
    run = a_run(family=family)
    with pytest.raises(Killed):
        segment(tmp_path, "out", run=run, source=DyingStream(tiny.stream(), dies_at), snapshot_seconds=0.0)
    assert latest_snapshot(tmp_path / "out-snapshots")[0] == dies_at
    assert not (tmp_path / "out").exists()
    seen = []

    class Watched(DyingStream):
        def windows(self, start, stop):
            seen.append(start // ROWS)
            return super().windows(start, stop)

    segment(tmp_path, "out", run=run, source=Watched(tiny.stream(), -1))
    assert seen == list(range(dies_at, TOTAL))  # continued, not begun again
    assert state_bytes(tmp_path / "out") == state_bytes(uninterrupted[family])


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_killed_and_resumed_on_flat_buffers_ends_with_the_same_bits(tmp_path, family, uninterrupted):
    run = dataclasses.replace(a_run(family=family), numerics=Numerics(trainer="flat"))
    whole = segment(tmp_path, "whole", run=run)
    with pytest.raises(Killed):
        segment(tmp_path, "out", run=run, source=DyingStream(tiny.stream(), 13), snapshot_seconds=0.0)
    segment(tmp_path, "out", run=run)
    assert state_bytes(tmp_path / "out") == state_bytes(whole)
    autograd = load_file(uninterrupted[family] / "model.safetensors")
    assert autograd.keys() == load_file(whole / "model.safetensors").keys()
    for name, tensor in load_file(whole / "model.safetensors").items():
        torch.testing.assert_close(tensor, autograd[name], rtol=1e-2, atol=1e-3)


def test_killed_twice_by_its_own_progress_report(tmp_path, uninterrupted):
    def stop_at(reported):
        def progress(share, facts):
            if round(share * TOTAL) == reported:
                raise Killed

        return progress

    for reported in (11, 21):
        with pytest.raises(Killed):
            segment(tmp_path, "out", snapshot_seconds=0.0, progress=stop_at(reported))
    segment(tmp_path, "out")
    assert state_bytes(tmp_path / "out") == state_bytes(uninterrupted["llama"])


def test_only_the_newest_snapshot_is_kept(tmp_path):
    with pytest.raises(Killed):
        segment(tmp_path, "out", source=DyingStream(tiny.stream(), 7), snapshot_seconds=0.0)
    assert [folder.name for folder in (tmp_path / "out-snapshots").iterdir()] == ["step-000000007"]


def single_loop(run, total):
    model = build_model(run.architecture, run.vocabulary_size, run.seed)
    optimizer = adamw(model.parameters(), run.recipe.optimisation)
    train(
        model,
        optimizer,
        _batches(tiny.stream(), ROWS, 0, "cpu"),
        lambda step: run.recipe.schedule.learning_rate(run.recipe.learning_rate, step, total),
        forward=choose_forward(model, "lean"),
        start=0,
        stop=total,
        clip_norm=run.recipe.optimisation.clip_norm,
    )
    return tiny.weights_of(model)


def test_a_branch_is_its_trunk_and_its_decay_bit_for_bit(tmp_path):
    run = a_run()
    schedule = run.recipe.schedule
    trunk, at = None, 0
    for total in (10, 25, 40):  # one trunk, walked on from branch point to branch point
        branch_point = schedule.shared_until(total)
        trunk = segment(tmp_path, f"trunk-{total}", start=at, stop=branch_point, total=None, begin_from=trunk)
        assert state_is_whole(trunk)
        member = segment(
            tmp_path, f"{total}", start=branch_point, stop=total, total=total, begin_from=trunk, keep_optimizer=False
        )
        assert not state_is_whole(member)
        assert tiny.same_bits(tiny.weights_of(open_checkpoint(member).model), single_loop(run, total))
        at = branch_point


def test_facts_of_a_member(tmp_path):
    member = open_checkpoint(segment(tmp_path, "member", start=0, stop=10, total=10))
    facts = member.about
    assert (facts.step, facts.tokens, facts.annealed, facts.seed) == (10, 10 * ROWS * 12, True, 0)
    assert facts.learning_rate == pytest.approx(0.01 / 2)  # the second of two steps of decay
    assert facts.epochs == pytest.approx(10 * ROWS / (1999 // 12))
    assert facts.data == "sha256:test"
    assert facts.weights == member.weights
    weights = tiny.weights_of(member.model)
    assert facts.norms == pytest.approx({name: float(tensor.double().norm()) for name, tensor in weights.items()})
    assert facts.init_stds.keys() == weights.keys()


@pytest.mark.parametrize(
    ("kind", "total", "annealed"), [("wsd", None, False), ("cosine", 5, True), ("constant", 5, False)]
)
def test_annealed_says_whether_the_rate_came_down(tmp_path, kind, total, annealed):
    member = segment(tmp_path, "member", run=a_run(kind=kind), stop=5, total=total)
    assert open_checkpoint(member).about.annealed is annealed


def test_seeds_differ(tmp_path):
    first, second = (segment(tmp_path, str(seed), run=a_run(seed), stop=2, total=2) for seed in (0, 1))
    assert open_checkpoint(first).weights != open_checkpoint(second).weights


def test_divergence_is_told_with_its_remedy(tmp_path):
    run = a_run()
    hot = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"diverged at step \d+ \(learning rate 1e\+30\); give a lower learning_rate"):
        segment(tmp_path, "out", run=hot)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_write_that_failed(tmp_path, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pliant.training.pretraining.save_optimizer", full)
    with pytest.raises(OSError, match="No space left"):
        segment(tmp_path, "out", stop=2, total=2)
    assert list(tmp_path.iterdir()) == []


def test_steps_are_the_nearest_to_the_budget():
    recipe = Recipe(learning_rate=0.01, batch_windows=4)
    assert [recipe.steps(tokens, context=10) for tokens in (1, 40, 59, 61, 4000)] == [1, 1, 1, 2, 100]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number above 0, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number above 0, got inf"),
        ({"learning_rate": 0.1, "batch_windows": 0}, "batch_windows must be at least 1, got 0"),
        (
            {"learning_rate": 0.1, "batch_windows": 4, "micro_batch": 4},
            "micro_batch must be from 1 to 3, below batch_windows 4, got 4; leave it out",
        ),
    ],
)
def test_refused_recipes(settings, says):
    with pytest.raises(ValueError, match=says):
        Recipe(**settings)


def weights_after(tmp_path, out, **changes):
    run = a_run()
    run = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **changes))
    model = open_checkpoint(segment(tmp_path, out, run=run, stop=5, total=5)).model
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_micro_batches_and_bfloat16_train_the_same_model_within_their_rounding(tmp_path):
    """Adam's first updates have the size of the rate whatever the gradient's, so that rounding shows there most."""
    whole = weights_after(tmp_path, "whole")
    parts = weights_after(tmp_path, "parts", micro_batch=3)
    mixed = weights_after(tmp_path, "mixed", precision="bfloat16")
    start = weights_after(tmp_path, "start", learning_rate=1e-12)
    moved = (whole - start).norm()
    assert 0 < (parts - whole).norm() < 1e-3 * moved
    assert 1e-3 * moved < (mixed - whole).norm() < 0.2 * moved


def test_a_recipe_that_says_nothing_of_them_is_what_it_was():
    recipe = Recipe(learning_rate=0.01)
    assert not {"precision", "micro_batch"} & set(identity(recipe))
    assert identity(dataclasses.replace(recipe, micro_batch=3))["micro_batch"] == 3


def test_progress_reports_share_loss_and_speed(tmp_path):
    seen = []
    segment(tmp_path, "out", progress=lambda share, facts: seen.append((share, dict(facts))))
    assert [share for share, _ in seen] == pytest.approx([1 / TOTAL, 11 / TOTAL, 21 / TOTAL])
    assert all(0 < facts["loss"] < 10 and facts["tokens_per_second"] > 0 for _, facts in seen)
    assert torch.get_num_threads() == 1
