"""What a study adds to itself: draws where an interval is too wide."""

import pytest

from pliant.studies.growth import add_draws, keep_added
from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.spec import StudySpec
from tiny_studies import tiny

LABEL = "noise, relative scaling"


def study(*strengths: float, blocks: int = 1, draws: int = 8) -> StudySpec:
    noise = {"scaling": "relative", "strengths": strengths, "blocks": blocks, "draws": draws}
    return tiny().model_copy(update={"modifications": (ModificationSpec.model_validate({"noise": noise}),)})


def added(spec: StudySpec) -> int:
    noise = spec.modifications[0].noise
    assert noise is not None
    return noise.added_blocks


@pytest.mark.parametrize(("needed", "blocks"), [(0, 0), (8, 0), (9, 1), (16, 1), (17, 2), (64, 7)])
def test_draws_come_in_whole_blocks(needed: int, blocks: int):
    assert added(add_draws(study(0.1), {(LABEL, 0.1): needed})) == blocks


def test_only_the_noise_named_grows_and_an_entry_grows_as_its_neediest():
    assert add_draws(study(0.1), {(LABEL, 0.2): 30}) == study(0.1)
    assert added(add_draws(study(0.1, 0.2), {(LABEL, 0.1): 10, (LABEL, 0.2): 20})) == 2


def test_what_was_added_is_never_taken_back():
    grown = add_draws(study(0.1), {(LABEL, 0.1): 32})
    assert add_draws(grown, {}) == grown
    assert keep_added(study(0.1), grown) == grown
    assert keep_added(study(0.2), grown) == study(0.2)
