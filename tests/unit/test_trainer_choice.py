"""Which trainer a plan gets, and whether compiling is found to work."""

import pytest

from pliant.training.compile_probe import compiling_works
from pliant.training.trainer_choice import choose_trainer

LONG = {"layers": 4, "tokens": 10**9}


def chosen(works=True, **changes):
    settings = {"width": 64, "matrix_units": True, **LONG, **changes}
    return choose_trainer(compiling_works=lambda: works, **settings)


def test_long_runs_are_compiled_and_wide_models_multiplied_in_bfloat16():
    assert chosen() == "compiled"
    assert chosen(width=256) == "compiled-bf16"
    assert chosen(width=256, matrix_units=False) == "compiled"


def test_where_compiling_does_not_work_training_is_by_autograd():
    assert chosen(works=False) is None


def test_a_short_run_does_not_even_ask():
    def asked():
        raise AssertionError("it was asked")

    assert choose_trainer(width=256, layers=2, tokens=10**6, matrix_units=True, compiling_works=asked) is None


def test_a_compiler_that_takes_too_long_does_not_work():
    assert not compiling_works(seconds=0.01)


@pytest.mark.slow
def test_the_probe_compiles_and_notices_a_compiler_that_fails(monkeypatch):
    assert compiling_works(600)
    monkeypatch.setenv("CXX", "false")
    assert not compiling_works(600)
