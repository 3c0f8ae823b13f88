"""Cheaper estimates of the sensitivity to noise: what they estimate is the same, and their intervals hold."""

import math

import numpy as np
import pytest
import torch

import tiny
import tiny_studies
from pliant.checkpoints.about import About
from pliant.evaluation.block_gradients import block_gradients
from pliant.evaluation.losses import loss_measurement
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.records.record import Measurement
from pliant.records.subset import Subset
from pliant.statistics import Reading, base_of, gather, over_draws, readings
from pliant.statistics.rotation import centred, levelled
from pliant.statistics.shared_noise import borrowed
from pliant.studies.spec import SpecError
from pliant.training.decoder import lean_logits

TEXT = tiny.split(96)
"""Six blocks of 16 rows."""


def measured(model, **how):
    return loss_measurement(
        model, TEXT, forward=lean_logits, name="test", batch_tokens=192, **{"draw": None, "sign": None} | how
    )


def measure_noise(noise: Noise, seeds: range = range(1)) -> list[Reading]:
    """The base and every copy of `noise` on a tiny model, as a study's table would have them."""
    shape = tiny.architecture()
    model = tiny.model(seed=1)
    about, base = tiny.about(model, shape), keep_base(model)
    gradients = block_gradients(model, TEXT, forward=lean_logits, batch_tokens=192) if noise.control else None
    rows = [_reading(measured(model), modification="none", label="none")]
    for seed in seeds:
        for variant in noisy_variants(noise, model, about, base, seed, gradients):
            found = measured(model, draw=variant.draw, sign=variant.sign, subset=variant.subset, linear=variant.linear)
            rows.append(_reading(found, modification="noise", label=noise.label, strength=noise.strength, seed=seed))
        restore(model, base)
    return rows


def _reading(found: Measurement, **what: object) -> Reading:
    return Reading(
        study="s", tokens=100, evaluation="pretraining-loss", metric="loss_nats", split="test", value=found.value,
        draw=found.draw, sign=found.sign, blocks=found.blocks, count=found.count, linear=found.linear, **what,
    )  # fmt: skip


def increases(rows: list[Reading]) -> list[float]:
    series = gather(rows)
    (one,) = (s for k, s in series.items() if k.modification == "noise")
    base = base_of(one.key, series)
    assert base is not None
    return list(one.sensitivity(base).draws[0, 100.0].values())


def noise(strength: float = 0.05, **how: object) -> Noise:
    return Noise(**{"scaling": "init", "strength": strength, "draws": 12, "antithetic": False} | how)  # type: ignore[arg-type]


WAYS = {
    "control": {"control": "gradient"},
    "control on subsets": {"control": "gradient", "subsets": 3},
    "pairs on subsets": {"antithetic": True, "subsets": 3},
    "pairs": {"antithetic": True},
}


# the gradient


def test_block_gradients_are_those_of_torch_on_transformers_own_loss():
    model = tiny.model(seed=2)
    found = block_gradients(model, TEXT, forward=lean_logits, batch_tokens=48)  # four rows at a time
    for block in (0, 5):
        rows = slice(16 * block, 16 * block + 16)
        logits = model(input_ids=torch.from_numpy(TEXT.inputs[rows])).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(TEXT.targets[rows]).flatten())
        model.zero_grad()
        (loss * TEXT.targets[rows].size).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name][block].view_as(parameter), parameter.grad, rtol=1e-4, atol=1e-4)


def test_the_linear_term_is_what_a_small_step_costs():
    (base, *copies) = measure_noise(noise(4e-4, control="gradient", draws=4))
    for copy in copies:
        increase = np.subtract(copy.blocks, base.blocks)
        assert np.abs(increase).max() > 0.01  # nats a block: far above the rounding of fp32
        np.testing.assert_allclose(copy.linear, increase, atol=0.03 * np.abs(increase).max())


class Quadratic(torch.nn.Module):
    """Two tensors; its "loss" is b.x + x.A x / 2 at their values."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))
        self.second = torch.nn.Parameter(torch.tensor([[1.0, 0.5]], dtype=torch.float64))

    def get_input_embeddings(self):
        return None

    def get_output_embeddings(self):
        return None


def test_with_the_control_a_quadratic_has_its_closed_form_and_no_first_order_scatter():
    generator = np.random.default_rng(0)
    root = generator.normal(size=(4, 4))
    A, b, stds = root @ root.T, 100 * generator.normal(size=4), np.array([0.3, 0.3, 1.1, 1.1])
    model = Quadratic()

    def loss():
        x = torch.cat([model.first, model.second.flatten()]).detach().numpy()
        return float(b @ x + x @ A @ x / 2)

    x = torch.cat([model.first, model.second.flatten()]).detach().numpy()
    gradient = torch.from_numpy((b + A @ x)[None])
    gradients = {"first": gradient[:, :2], "second": gradient[:, 2:]}
    clean, gamma = loss(), 0.1
    about = About(init_stds={"first": 0.3, "second": 1.1})
    variants = noisy_variants(
        noise(gamma, control="gradient", draws=1500), model, about, keep_base(model), 0, gradients
    )
    plain, controlled = np.array([(loss() - clean, loss() - clean - v.linear[0]) for v in variants]).T
    covariance = np.diag((gamma * stds) ** 2)
    mean, variance = np.trace(A @ covariance) / 2, np.trace(A @ covariance @ A @ covariance) / 2
    assert controlled.mean() == pytest.approx(mean, abs=4.5 * math.sqrt(variance / 1500))
    assert controlled.var() == pytest.approx(variance, rel=0.25)
    assert plain.var() > 1000 * variance


# the same thing is estimated


@pytest.mark.parametrize("way", WAYS)
def test_every_way_agrees_with_plain_draws_and_is_more_precise(way: str):
    plain = over_draws(increases(measure_noise(noise(0.1), range(12))), seed=0)
    found = over_draws(increases(measure_noise(noise(0.1, **WAYS[way]), range(12))), seed=0)
    apart = math.hypot(plain.standard_error, found.standard_error)
    assert abs(found.value - plain.value) < 3.5 * apart
    assert found.standard_error < plain.standard_error
    assert found.low > 0


@pytest.mark.parametrize("way", WAYS)
def test_strength_zero_costs_nothing(way: str):
    found = increases(measure_noise(noise(0.0, **WAYS[way])))
    assert len(found) == 12
    exact = "subsets" not in way
    assert all(value == 0 if exact else abs(value) < 1e-7 for value in found)


def test_the_record_keeps_the_loss_and_the_linear_term_of_each_draw():
    plain, controlled = (measure_noise(noise(0.1, **how)) for how in ({}, WAYS["control"]))
    assert [row.value for row in plain] == [row.value for row in controlled]
    assert all(len(row.linear) == len(row.blocks) == 6 for row in controlled[1:])
    content = Measurement(metric="loss_nats", value=1.0).to_json()
    assert "linear" not in content  # older records keep their bytes
    assert Measurement(metric="loss_nats", value=1.0, linear=(0.5,)).to_json() == content | {"linear": [0.5]}


def test_draws_take_the_subsets_in_turn_and_together_cover_the_text_evenly():
    rows = measure_noise(noise(0.1, **WAYS["control on subsets"]))
    base, *copies = rows
    assert [tuple(np.flatnonzero(row.count)) for row in copies[:4]] == [(0, 3), (1, 4), (2, 5), (0, 3)]
    np.testing.assert_array_equal(np.sum([row.count for row in copies], axis=0), 4 * np.array(base.count))
    for row in copies:
        assert row.value == pytest.approx(sum(row.blocks) / sum(row.count), rel=1e-12)
        assert all(
            (tokens > 0) == (sums > 0) == (cost != 0)
            for tokens, sums, cost in zip(row.count, row.blocks, row.linear, strict=True)
        )


def test_a_subset_has_the_sums_of_the_whole():
    model = tiny.model(seed=1)
    whole, part = measured(model), measured(model, subset=Subset(number=1, of=4))
    assert [bool(tokens) for tokens in part.count] == [False, True, False, False, False, True]
    for block in (1, 5):
        assert part.blocks[block] == pytest.approx(whole.blocks[block], rel=1e-6)
        assert part.count[block] == whole.count[block]


# intervals


def simulated(generator: np.random.Generator, n: int, parts: int) -> dict[int, dict[int, float]]:
    """Parts differ by far more than draws do; part 0 has scatter of its own."""
    return {
        part: {d: 1 + 10 * part + generator.normal(scale=1 + (part == 0)) for d in range(part, n, parts)}
        for part in range(parts)
    }


@pytest.mark.parametrize(("n", "parts"), [(8, 4), (24, 4), (24, 8), (9, 3)])
def test_levelled_draws_cover_the_mean_over_the_whole_text(n: int, parts: int):
    generator = np.random.default_rng([n, parts])
    tokens = dict.fromkeys(range(parts), 100)
    truth = np.mean([1 + 10 * part for part in range(parts)])
    trials, hits = 600, 0
    for _ in range(trials):
        found = over_draws(list(levelled(simulated(generator, n, parts), tokens).values()), seed=0)
        hits += found.low <= truth <= found.high
    assert hits / trials == pytest.approx(0.95, abs=0.03)


def test_parts_count_by_their_tokens():
    found = levelled({"a": {0: 1.0, 1: 3.0}, "b": {2: 5.0, 3: 5.0}}, {"a": 300, "b": 100})
    assert np.mean(list(found.values())) == pytest.approx(0.75 * 2 + 0.25 * 5)
    with pytest.raises(ValueError, match="draw 2 is the only one on its part of the text; give each part two or more"):
        levelled({"a": {0: 1.0, 1: 3.0}, "b": {2: 5.0}}, {"a": 1, "b": 1})


def test_centred_text_keeps_the_mean_and_forgets_what_draws_put_between_parts():
    sums, count = np.array([1.0, 10.0, 3.0, 12.0, 2.0, 11.0]), np.ones(6, dtype=int)
    moved, stretch = centred(sums, count, [[0, 2, 4], [1, 3, 5]])
    assert moved.mean() == pytest.approx(sums.mean())
    assert moved == pytest.approx(sums.mean() + np.array([-1, -1, 1, 1, 0, 0]))
    assert stretch == pytest.approx(math.sqrt(5 / 4))


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.99])
@pytest.mark.parametrize(("n", "many"), [(8, 64), (16, 64), (24, 40)])
def test_borrowed_draws_cover_the_mean(correlation: float, n: int, many: int):
    generator = np.random.default_rng([n, many, int(100 * correlation)])
    trials, hits, widths = 600, 0, []
    for _ in range(trials):
        x = generator.normal(size=many)
        y = 5 + correlation * x[:n] + math.sqrt(1 - correlation**2) * generator.normal(size=n)
        own = dict(enumerate(y))
        found = over_draws(list(borrowed(own, dict(enumerate(x))).values()), seed=0)
        plain = over_draws(list(own.values()), seed=0)
        hits += found.low <= 5 <= found.high
        widths.append((found.high - found.low) / (plain.high - plain.low))
    assert 0.92 < hits / trials < 0.98
    assert np.mean(widths) < {0.0: 1.001, 0.8: 0.95, 0.99: 0.8}[correlation]


def test_nothing_is_borrowed_from_other_or_no_more_draws():
    own = {d: float(d % 3) + d % 2 for d in range(12)}
    assert borrowed(own, own) == own
    assert borrowed(own, {d: float(d % 3) for d in range(6, 40)}) == own  # not all of them
    assert borrowed(own, dict.fromkeys(range(12), 1.0)) == own
    assert borrowed(own, {d: float(d % 3 + d % 2 if d < 12 else d % 5) for d in range(12)}) != own


# settings


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"control": "gradient", "antithetic": True}, "control: gradient has no effect with antithetic: true"),
        ({"subsets": 1}, "subsets must be at least 2, got 1"),
        ({"subsets": 5}, "got 12; give draws: 15"),
        ({"subsets": 12}, "got 12; give draws: 24"),
    ],
)
def test_refused_settings(how: dict[str, object], says: str):
    with pytest.raises(ValueError, match=says):
        noise(**how)


def test_more_subsets_than_blocks_are_refused(tmp_path):
    spec = tiny_studies.tiny({"modifications.0.noise": {"strengths": [0.1], "draws": 8, "subsets": 4}})
    with pytest.raises(ValueError, match=r"noise.subsets is 4, the held-out text has 2 blocks of 16 rows"):
        tiny_studies.plan(spec, tmp_path)


def test_most_needs_a_precision():
    with pytest.raises(SpecError, match="most has no effect without precision"):
        tiny_studies.tiny({"modifications.0.noise": {"strengths": [0.1], "most": 40}})


def test_a_study_measures_with_control_and_subsets(tmp_path):
    settings = {"strengths": [0.05], "draws": 6, "antithetic": False, "control": "gradient", "subsets": 2}
    spec = tiny_studies.tiny({"modifications": [{"noise": settings}]})
    table, failures, _ = tiny_studies.run(spec, tmp_path / "study")
    assert not failures
    assert not table.missing
    rows = [row for row in readings(table.rows) if row.modification == "noise"]
    assert len(rows) == 12
    assert all(row.linear and 0 in row.count for row in rows)
    again = tiny_studies.run(spec, tmp_path / "study")
    assert again[2] == []
