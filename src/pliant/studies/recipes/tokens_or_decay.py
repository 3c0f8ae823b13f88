"""Tokens or learning-rate decay: what makes a checkpoint less pliant? One trunk, decayed and undecayed members."""

from pliant.studies.expectations import Expectation
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.signs.judged import Rule, all_of, of_trajectory, on
from pliant.studies.signs.noise import decayed_more_sensitive, sensitivity_rises
from pliant.studies.signs.tuning import (
    What,
    equal_at_equal_tokens,
    forgetting_grows,
    rises_more,
    rises_more_reused,
    tuned_rise,
    upper_five,
)
from pliant.studies.small_ladders import LANGUAGE_SEED, consecutive, ladder, noise, shrunk, tuned
from pliant.studies.spec import HeldOutSpec, StudySpec, TrajectorySpec

MARKOV_STEPS = (160, 320, 640, 1280, 2560)  # x 1,024 tokens: 164K-2.62M, 70-1,118 tokens per parameter
TEXT_STEPS = (200, 400, 800, 1600)  # x 2,048 bytes: 410K-3.28M, 76-605 tokens per parameter
WEIGHT_DECAYS = (0.0, 0.1, 0.3)
SEEDS = consecutive(401, 6)


def markov_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """The Markov language, fine-tuned on `skip`, which contradicts it; noise in two scalings."""
    return StudySpec(
        study="tokens-or-decay-markov",
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=256),
        trajectories=_ladders("width-8-markov", MARKOV_STEPS, seeds, scale),
        modifications=(
            noise("init", 0.05, 0.1),
            noise("relative", 0.05, 0.1),
            tuned("skip", 1e-3, 13, steps=30, batch=8, scale=scale),
        ),
    )


def text_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """English text, fine-tuned on Python; noise in two scalings."""
    return StudySpec(
        study="tokens-or-decay-text",
        corpus="english",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=192),
        trajectories=_ladders("width-8", TEXT_STEPS, seeds, scale),
        modifications=(
            noise("init", 0.05, 0.1),
            noise("relative", 0.05, 0.1),
            tuned("python", 5.66e-3, 10, steps=100, batch=4, scale=scale),
        ),
    )


def _ladders(preset: str, steps: tuple[int, ...], seeds: tuple[int, ...], scale: float) -> tuple[TrajectorySpec, ...]:
    """A WSD ladder for each weight decay, with the trunk at the same tokens as each annealed member."""
    return tuple(
        ladder(
            f"weight decay {decay:g}",
            preset,
            steps=steps,
            seeds=seeds,
            weight_decay=decay,
            members=("annealed", "trunk"),
            scale=scale,
        )
        for decay in WEIGHT_DECAYS
    )


MARKOV_LAST, MARKOV_280 = 2_621_440, 655_360
EQUAL_NATS = 0.02
"""Differences within this much count as none."""


def _everywhere(rule: Rule, decays: tuple[float, ...] = WEIGHT_DECAYS) -> Rule:
    """`rule` on the trajectory of every weight decay, both kinds of members together."""
    return all_of(*((_name(decay), of_trajectory(_name(decay), rule)) for decay in decays))


def _name(decay: float) -> str:
    return f"weight decay {decay:g}"


def _on_both(rule: Rule, decay: float) -> Rule:
    """`rule` on the decayed members and on the undecayed trunk of one weight decay."""
    return all_of(
        ("decayed", on(_name(decay), rule)),
        ("undecayed", on(_name(decay), rule, members="undecayed trunk")),
    )


def _rise(what: What) -> Rule:
    return tuned_rise("skip", what, MARKOV_LAST, MARKOV_280)


def _equal(task: str, *quantities: What) -> Rule:
    """No difference between decayed and undecayed in any of `quantities`, at every weight decay."""
    return all_of(*((what, _everywhere(equal_at_equal_tokens(task, what, EQUAL_NATS))) for what in quantities))


def _expected(study: str, text: str, rule: Rule) -> Expectation:
    return Expectation(text=text, study=study, judge=rule)


def _noise_signs(study: str) -> tuple[Expectation, ...]:
    trunks = all_of(*((_name(d), on(_name(d), sensitivity_rises, members="undecayed trunk")) for d in WEIGHT_DECAYS))
    return (
        _expected(
            study,
            "7: sensitivity to noise at the last budget is larger decayed than undecayed, everywhere",
            _everywhere(decayed_more_sensitive),
        ),
        _expected(study, "8: sensitivity of the undecayed trunk to noise rises with tokens, everywhere", trunks),
    )


_MARKOV, _TEXT = "tokens-or-decay-markov", "tokens-or-decay-text"
_MARKOV_SIGNS = (
    _expected(_MARKOV, "1: skip, tuned: task loss rises, decayed and undecayed", _on_both(_rise("task loss"), 0.0)),
    _expected(_MARKOV, "2: ... so does pre-training loss", _on_both(_rise("pre-training loss"), 0.0)),
    _expected(
        _MARKOV,
        "3: ... task loss of the decayed members, with weight decay 0.1 and 0.3, too",
        all_of(*((_name(d), on(_name(d), _rise("task loss"))) for d in (0.1, 0.3))),
    ),
    _expected(
        _MARKOV,
        "4: ... but less with weight decay 0.3 than with 0",
        rises_more("skip", "task loss", MARKOV_LAST, MARKOV_280, more=_name(0.0), less=_name(0.3)),
    ),
    _expected(
        _MARKOV,
        "5: at equal tokens decayed and undecayed do not differ after tuned fine-tuning on skip",
        _equal("skip", "task loss", "pre-training loss"),
    ),
    _expected(
        _MARKOV,
        "6: with the reused rate pre-training loss rises on both",
        _on_both(_rise("reused pre-training loss"), 0.0),
    ),
    _expected(
        _MARKOV,
        "6: ... and by more than at the tuned rate",
        _on_both(
            rises_more_reused("skip", "pre-training loss", MARKOV_LAST, MARKOV_280),
            0.0,
        ),
    ),
    *_noise_signs(_MARKOV),
)
_TEXT_SIGNS = (
    *_noise_signs(_TEXT),
    _expected(
        _TEXT,
        "9: at equal tokens decayed and undecayed do not differ in task loss after tuned fine-tuning on Python",
        _equal("python", "task loss"),
    ),
    _expected(
        _TEXT,
        "10: Python, upper five rates: forgetting rises with tokens, decayed and undecayed",
        _on_both(forgetting_grows(upper_five), 0.1),
    ),
)
_DEFAULTS = (
    Default(
        setting="design",
        stands_in="one WSD trunk a seed and weight decay; six seeds; models of 2,344 and 5,416 parameters",
        reason="no publication crosses tokens, decay and weight decay with seeds; this size does so in an hour",
    ),
)
RECIPES = (
    StudyRecipe(
        name="tokens-or-decay",
        title="Tokens or learning-rate decay: which makes a checkpoint less pliant? On a Markov language",
        place="Springer et al. 2025, section 3.2, against Rofin et al. 2026 and Catalan-Tatjer et al. 2026",
        study=markov_study,
        defaults=_DEFAULTS,
        claims=_MARKOV_SIGNS,
    ),
    StudyRecipe(
        name="tokens-or-decay-text",
        title="The same on English",
        place="Springer et al. 2025, section 3.2, against Rofin et al. 2026 and Catalan-Tatjer et al. 2026",
        study=text_study,
        defaults=_DEFAULTS,
        claims=_TEXT_SIGNS,
    ),
)
