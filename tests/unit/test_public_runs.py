"""The table of public runs: facts against published figures, formulas written out, and the models' own code."""

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.names import NameFacts, read_name
from pliant.checkpoints.public.initial_stds import MitchellInit, NormalInit, SmallInit, initial_stds, truncated_std
from pliant.checkpoints.public.runs import disagrees, facts, init_stds, public_runs, run_of
from pliant.checkpoints.public.schedule import RunSchedule

B, T = 10**9, 10**12


def run(repo):
    found = run_of(repo, public_runs())
    assert found is not None
    return found


def about(repo, name):
    return facts(run(repo), read_name(name))


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("allenai/OLMo-1B", "OLMo-1B"),
        ("allenai/OLMo-1B-hf", "OLMo-1B"),
        ("allenai/OLMo-1B-0724-hf", "OLMo-1B-0724"),
        ("allenai/OLMo-7B-hf", "OLMo-7B"),
        ("allenai/OLMo-2-1124-13B", "OLMo-2-13B"),
        ("EleutherAI/pythia-70m-deduped", "Pythia-70M"),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-480k-1T", "TinyLlama-1.1B"),
        ("LLM360/Amber", "Amber"),
    ],
)
def test_a_repository_finds_its_run(repo, name):
    assert run(repo).name == name


@pytest.mark.parametrize(
    "repo", ["EleutherAI/pythia-70m-v0", "LLM360/AmberChat", "allenai/OLMo-2-1124-7B-Instruct", "TinyLlama", "OLMo-1B"]
)
def test_relatives_of_a_run_are_not_taken_for_it(repo):
    assert run_of(repo, public_runs()) is None


def test_the_table_has_each_name_and_repository_once():
    names = [each.name for each in public_runs()]
    repos = [repo for each in public_runs() for repo in each.repos]
    assert len(set(names)) == len(names)
    assert len(set(repos)) == len(repos)


@pytest.mark.parametrize(("tokens", "rate"), [(1.5, 2.3e-4), (2.3, 9.6e-5), (2.5, 7.3e-5), (3.0, 4.1e-5)])
def test_olmo_1b_has_the_rates_derived_from_its_config(tokens, rate):
    step = round(tokens * T / (2048 * 2048))
    found = about("allenai/OLMo-1B-hf", f"step{step}-tokens{tokens * 1000:.0f}B")
    assert found.learning_rate == pytest.approx(rate, rel=0.02)
    assert found.annealed is False


def test_olmo_1b_is_annealed_at_its_last_checkpoint_only():
    assert about("allenai/OLMo-1B-hf", "step738020-tokens3095B").annealed is True
    assert about("allenai/OLMo-1B-hf", "step20000-tokens84B").annealed is False
    assert about("allenai/OLMo-1B-hf", "step100-tokens0B").annealed is False
    assert about("allenai/OLMo-1B-hf", "main") == About()


def test_olmo_2_stops_stage_1_before_its_decay_ends_and_starts_stage_2_at_that_rate():
    end = about("allenai/OLMo-2-1124-7B", "stage1-step928646-tokens3896B")
    assert end.annealed is False
    assert end.learning_rate == pytest.approx(6.135e-5, rel=1e-3)  # stage 2's config starts at 6.1499e-5
    middle = about("allenai/OLMo-2-1124-7B", "stage2-ingredient1-step5000-tokens21B")
    assert middle.tokens == 3_895_023_632_384 + 21 * B
    assert middle.learning_rate == pytest.approx(6.1499e-5 * (1 - 5000 / 11921))
    last = about("allenai/OLMo-2-1124-7B", "stage2-ingredient3-step11931-tokens50B")
    assert (last.learning_rate, last.annealed) == (0, True)


def test_what_is_disputed_or_not_confirmed_is_unknown():
    found = about("allenai/OLMo-2-1124-13B", "stage1-step300000-tokens2517B")
    assert (found.learning_rate, found.annealed, found.step) == (None, False, 300_000)
    assert about("EleutherAI/pythia-1b", "step1000").learning_rate is None


def test_after_a_change_of_schedule_nothing_is_known():
    before, after = (about("allenai/Olmo-3-1025-7B", f"stage1-step{step}") for step in (597_046, 597_047))
    assert before.learning_rate == pytest.approx(3e-4 * 0.55, rel=2e-3)  # half of the cosine
    assert after == About(step=597_047, tokens=597_047 * 4_194_304)
    assert about("allenai/Olmo-3-1025-7B", "stage3-step11921") == About(step=11_921)


def test_pythia_has_299_892_736_000_tokens_at_its_end_and_neox_s_cosine():
    end = about("EleutherAI/pythia-410m", "step143000")
    assert end.tokens == 299_892_736_000
    assert (end.learning_rate, end.annealed) == (pytest.approx(3e-5), True)
    assert about("EleutherAI/pythia-410m", "step512").learning_rate == pytest.approx(3e-4 * 512 / 1430)
    step = 100_000
    by_hand = 3e-4 / 2 * (math.cos(math.pi * (step - 1430) / 143_000) + 1)
    assert about("EleutherAI/pythia-410m", f"step{step}").learning_rate == pytest.approx(by_hand)
    assert about("EleutherAI/pythia-410m", "step0") == About(step=0, tokens=0)


def test_amber_numbers_its_checkpoints():
    last = about("LLM360/Amber", "ckpt_359")
    assert last.tokens == pytest.approx(1.2591 * T, rel=1e-3)  # its card: 1259.13B tokens
    assert (last.learning_rate, last.annealed, last.step) == (pytest.approx(3e-5), True, 274_320)
    assert about("LLM360/Amber", "ckpt_000").tokens == 1_706_976 * 2048
    assert about("LLM360/Amber", "ckpt_final") == About()


def test_smollm3_counts_on_through_three_stages():
    assert about("HuggingFaceTB/SmolLM3-3B-checkpoints", "stage1-step-40000").tokens == pytest.approx(
        94.4 * B, rel=1e-3
    )
    at = [
        about("HuggingFaceTB/SmolLM3-3B-checkpoints", name) for name in ("stage2-step-4200000", "stage3-step-4720000")
    ]
    assert at[0].learning_rate == pytest.approx(2e-4, rel=0.01)
    assert (at[1].learning_rate, at[1].annealed, at[1].tokens) == (0, True, 4_720_000 * 2_359_296)
    assert about("HuggingFaceTB/SmolLM3-3B-checkpoints", "lc-4k-to-32k-step-20000") == About(step=20_000)


def test_tinyllama_s_repositories_name_their_tokens():
    repo = "TinyLlama/TinyLlama-1.1B-step-50K-105b"
    assert (about(repo, repo).tokens, about(repo, repo).step) == (105 * B, 50_000)
    assert disagrees(run(repo), read_name(repo)) is None


def test_every_name_listed_in_a_card_agrees_with_the_table():
    listed = {
        "allenai/OLMo-1B": ["step20000-tokens84B", "step1000-tokens4B"],
        "allenai/OLMo-7B": ["step1000-tokens4B", "step452000-tokens2000B", "step556000-tokens2460B"],
        "allenai/OLMo-2-0325-32B": ["stage1-step721901-tokens6056B"],
        "allenai/OLMo-2-0425-1B": ["stage1-step300-tokens1B", "stage1-step1907359-tokens4001B"],
    }
    assert [disagrees(run(repo), read_name(name)) for repo, names in listed.items() for name in names] == [None] * 8


def test_a_name_far_from_the_table_is_reported_and_kept():
    name = read_name("step100000-tokens900B")
    assert facts(run("allenai/OLMo-1B"), name).tokens == 900 * B
    assert disagrees(run("allenai/OLMo-1B"), name) == (
        "step 100,000 says 900B tokens; at 4,194,304 a step, as the table of public runs has it for OLMo-1B, it is 419B"
    )


kinds = st.sampled_from(["cosine", "clipped-cosine", "linear", "wsd"])


@settings(max_examples=100, deadline=None)
@given(kinds, st.floats(0, 1), st.integers(0, 50), st.integers(60, 200))
def test_rates_rise_to_the_peak_and_then_fall_to_the_floor(kind, floor, warmup, total):
    schedule = RunSchedule(
        kind=kind,
        peak=2.0,
        floor=floor,
        warmup_steps=warmup,
        total_steps=total,
        decay_steps=10 if kind == "wsd" else None,
    )
    rates = [schedule.learning_rate(step) for step in range(1, total + 1)]
    assert all(0 <= rate <= 2 + 1e-12 for rate in rates)
    assert all(after >= before for before, after in itertools.pairwise(rates[:warmup]))
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(rates[warmup:]))
    if kind != "clipped-cosine":
        assert rates[-1] == pytest.approx(2 * floor, abs=1e-9)
        assert schedule.annealed(total) is True
        assert schedule.learning_rate(10 * total) == rates[-1]


def test_a_constant_rate_is_never_annealed():
    schedule = RunSchedule(kind="constant", peak=1.0, warmup_steps=10, warmup_from=0.5)
    assert [schedule.learning_rate(step) for step in (0, 5, 10, 99)] == [None, 0.75, 1.0, 1.0]
    assert [schedule.annealed(step) for step in (0, 5, 99)] == [None, False, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "linear", "decay_steps": 3}, "decay_steps has an effect for wsd only; take it out of the linear"),
        ({"kind": "cosine", "floor": 3e-5 + 1}, "floor is a share of the peak, between 0 and 1, got 1.00003"),
        ({"kind": "cosine", "peak": -1}, "peak must be 0 or more, got -1"),
        ({"kind": "cosine", "warmup_steps": 9, "total_steps": 9}, "total_steps 9 must be more than warmup_steps"),
    ],
)
def test_a_senseless_schedule_is_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RunSchedule(**given)


# --- initialisation ---------------------------------------------------------------------------------------------------


def shapes(model):
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def llama_like(family, tied=False):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=96,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return getattr(transformers, f"{family}ForCausalLM")(config)


def neox():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=96,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def test_mitchell_by_the_formulas_written_out():
    model = llama_like("Olmo", tied=True)
    stds = initial_stds(MitchellInit(rule="mitchell"), model.config.to_dict(), shapes(model))
    cut = 0.98658  # std of a standard normal truncated at three
    layer = "model.layers.2."
    expected = {
        "model.embed_tokens.weight": 64**-0.5,
        layer + "self_attn.q_proj.weight": 64**-0.5,
        layer + "self_attn.v_proj.weight": 64**-0.5,
        layer + "mlp.gate_proj.weight": 64**-0.5,
        layer + "self_attn.o_proj.weight": (2 * 64 * 3) ** -0.5,
        layer + "mlp.down_proj.weight": (2 * 160 * 3) ** -0.5,
        "model.layers.0.self_attn.o_proj.weight": (2 * 64) ** -0.5,
    }
    assert {name: stds[name] for name in expected} == pytest.approx({n: s * cut for n, s in expected.items()}, rel=1e-4)
    assert list(stds) == list(shapes(model))


def test_a_truncated_normal_has_the_std_of_a_simulation():
    drawn = torch.nn.init.trunc_normal_(torch.empty(10**6), std=1.0, a=-2.0, b=2.0, generator=torch.Generator())
    assert truncated_std(2.0) == pytest.approx(float(drawn.std()), rel=5e-3)
    assert truncated_std(50.0) == pytest.approx(1.0)


def test_neox_s_small_and_wang_init_by_the_formulas_written_out():
    model = neox()
    stds = initial_stds(SmallInit(rule="small-init"), model.config.to_dict(), shapes(model))
    small, wang = math.sqrt(2 / (5 * 64)), 2 / 3 / math.sqrt(64)
    layer = "gpt_neox.layers.1."
    assert stds[layer + "attention.query_key_value.weight"] == pytest.approx(small)
    assert stds[layer + "mlp.dense_h_to_4h.weight"] == pytest.approx(small)
    assert stds["gpt_neox.embed_in.weight"] == pytest.approx(small)
    assert stds["lm_head.weight"] == pytest.approx(small)
    assert stds[layer + "attention.dense.weight"] == pytest.approx(wang)
    assert stds[layer + "mlp.dense_4h_to_h.weight"] == pytest.approx(wang)
    zero = {name for name, std in stds.items() if std == 0}
    assert zero == {name for name, shape in shapes(model).items() if len(shape) == 1}
    older = initial_stds(SmallInit(rule="small-init"), model.config.to_dict(), {"embed_out.weight": (96, 64)})
    assert older == {"embed_out.weight": pytest.approx(small)}


@pytest.mark.parametrize("family", ["Llama", "Olmo2"])
def test_a_plain_normal_has_the_std_that_transformers_draws(family):
    model = llama_like(family)
    stds = initial_stds(NormalInit(rule="normal", std=0.02), model.config.to_dict(), shapes(model))
    for name, parameter in model.named_parameters():
        drawn = float(parameter.detach().std())
        assert stds[name] == pytest.approx(drawn, rel=0.08, abs=1e-12), name


def test_one_tensor_that_no_rule_covers_makes_all_unknown():
    known = {"model.embed_tokens.weight": (96, 64)}
    rule = NormalInit(rule="normal", std=0.02, truncation=3)
    assert initial_stds(rule, {}, known) == {"model.embed_tokens.weight": pytest.approx(0.0197316, rel=1e-4)}
    for name, shape in [
        ("model.layers.0.mlp.experts.0.w1.weight", (64, 64)),
        ("model.embed_tokens.weight", (2, 96, 64)),
        ("model.layers.0.temperature", (64,)),
    ]:
        assert initial_stds(rule, {}, {**known, name: shape}) is None
    assert initial_stds(SmallInit(rule="small-init"), {}, known) is None


def test_a_run_without_a_rule_has_no_stds():
    assert init_stds(run("EleutherAI/pythia-12b"), neox().config.to_dict(), shapes(neox())) is None
    assert init_stds(run("EleutherAI/pythia-70m"), neox().config.to_dict(), shapes(neox())) is not None


# --- the user's own table ---------------------------------------------------------------------------------------------

OURS = """
- name: ours
  repos: [team/base-*, allenai/OLMo-1B]
  source: our configs
  phases:
    - tokens_before: 0
      tokens_per_step: 4.2M
      schedule: {kind: wsd, peak: 1e-3, floor: 0, warmup_steps: 10, total_steps: 1000, decay_steps: 100}
  init: {rule: normal, std: 0.02}
"""


def test_entries_of_the_user_come_first(tmp_path):
    (tmp_path / "runs.yaml").write_text(OURS)
    runs = public_runs(tmp_path / "runs.yaml")
    assert run_of("allenai/OLMo-1B", runs).name == "ours"
    assert run_of("allenai/OLMo-1B-hf", runs).name == "OLMo-1B"
    assert facts(run_of("team/base-3", runs), NameFacts(step=950)) == About(
        step=950, tokens=3_990_000_000, learning_rate=pytest.approx(5e-4), annealed=False
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "peak: 1e-3",
            "peek: 1e-3",
            "run 'ours': phases.0.schedule.peek: unknown key; take it out or mend its spelling",
        ),
        ("kind: wsd", "kind: wave", "run 'ours': phases.0.schedule.kind: Input should be 'cosine', 'clipped-cosine'"),
        ("4.2M", "four", "run 'ours': phases.0.tokens_per_step: 'four' is not a token count"),
        ("rule: normal", "rule: glorot", "run 'ours': init: Input tag 'glorot' found using 'rule' does not match"),
        ("std: 0.02", "std: -1", "run 'ours': init.normal: std must be positive, got -1"),
        ("  source: our configs\n", "", "run 'ours': source: "),
        ("- name: ours\n  repos", "- repos", "run number 1: name: "),
        ("[team/base-*, allenai/OLMo-1B]", "[]", "run 'ours': repos: "),
        (OURS, "name: ours", "expected a list of runs (- name: ...); found dict"),
        (OURS, "- [", "is not YAML: while parsing"),
        (OURS, "- 7", "run number 1: "),
    ],
)
def test_a_malformed_table_is_one_line_with_the_key(tmp_path, old, new, message):
    file = tmp_path / "runs.yaml"
    assert old in OURS
    file.write_text(OURS.replace(old, new))
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        public_runs(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"^the table of runs .*none\.yaml cannot be read"):
        public_runs(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("repo", "config", "model"),
    [
        (
            "allenai/OLMo-1B-hf",
            {"intermediate_size": 8192, "num_attention_heads": 16, "tie_word_embeddings": True},
            "Olmo",
        ),
        ("allenai/OLMo-2-1124-7B", {"intermediate_size": 11_008, "num_attention_heads": 32}, "Olmo2"),
        ("LLM360/Amber", {"intermediate_size": 11_008, "num_attention_heads": 32}, "Llama"),
    ],
)
def test_sizes_are_those_of_the_models_own_code(repo, config, model):
    import transformers

    size = run(repo).size
    assert size is not None
    shared = {"hidden_size": size.width, "num_hidden_layers": size.layers, "vocab_size": size.vocabulary}
    settings = getattr(transformers, f"{model}Config")(**shared, **config, pad_token_id=None)
    with torch.device("meta"):
        built = getattr(transformers, f"{model}ForCausalLM")(settings)
    assert sum(p.numel() for p in built.parameters()) == size.parameters
    if size.checkpoint_bytes is not None:
        assert size.checkpoint_bytes == pytest.approx(4 * size.parameters, rel=1e-3)  # fp32
