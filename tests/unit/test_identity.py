"""What makes two things the same: every setting is declared once, and the canonical form never wavers."""

import dataclasses
import hashlib
import importlib
import math
import pkgutil
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pliant
from pliant.modifications.finetune import FineTune
from pliant.modifications.noise import Noise
from pliant.records.identity import canonical_json, digest, identity


def settings_classes() -> list[type[Any]]:
    found = {}
    for module in pkgutil.walk_packages(pliant.__path__, "pliant."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and dataclasses.is_dataclass(value) and hasattr(value, "IDENTITY"):
                    found[value.__qualname__] = value
    return [found[name] for name in sorted(found)]


def test_every_settings_class_declares_each_field_once():
    classes = settings_classes()
    names = {kind.__name__ for kind in classes}
    assert names >= {"Architecture", "FineTune", "Noise", "Numerics", "Optimisation", "Recipe", "Schedule"}
    for kind in classes:
        assert kind.__dataclass_params__.frozen, f"{kind.__name__} must be frozen"
        declared = sorted([*kind.IDENTITY, *kind.RUNTIME])
        fields = sorted(field.name for field in dataclasses.fields(kind))
        assert declared == fields, f"{kind.__name__}: declare each field once, as identity or as runtime"


@dataclasses.dataclass(frozen=True)
class Declared:
    IDENTITY: ClassVar = frozenset({"a", "nested"})
    RUNTIME: ClassVar = frozenset({"workers"})
    a: object = 1
    workers: int = 2
    nested: Any = None


@dataclasses.dataclass(frozen=True)
class Undeclared(Declared):
    forgotten: int = 3


@dataclasses.dataclass(frozen=True)
class Twice(Declared):
    RUNTIME: ClassVar = frozenset({"workers", "a"})


@dataclasses.dataclass(frozen=True)
class NotThere(Declared):
    RUNTIME: ClassVar = frozenset({"workers", "gone"})


@pytest.mark.parametrize(("kind", "field"), [(Undeclared, "forgotten"), (Twice, "a"), (NotThere, "gone")])
def test_a_field_not_declared_once_is_refused_by_name(kind, field):
    with pytest.raises(TypeError, match=rf"{kind.__name__}: declare each field once.*{field}"):
        identity(kind())


def test_runtime_settings_are_no_part_of_identity():
    assert identity(Declared(workers=5)) == identity(Declared()) == {"a": 1}


def test_nested_settings_count_with_their_type():
    nested = identity(Declared(nested=Declared(a=(1, {"k": 2.5}))))["nested"]
    assert nested == {"type": "Declared", "a": [1, {"k": 2.5}]}


def test_what_has_no_canonical_form_is_refused():
    with pytest.raises(TypeError, match="complex has no canonical form"):
        identity(Declared(a=1j))


@pytest.mark.parametrize(
    ("original", "changed"),
    [
        (Noise(scaling="init", strength=0.1), {"scaling": "relative"}),
        (Noise(scaling="init", strength=0.1), {"antithetic": False}),
        (FineTune(task="t", strength=0.1), {"steps": 101}),
    ],
)
def test_a_changed_setting_changes_the_digest(original, changed):
    assert digest(identity(original)) != digest(identity(dataclasses.replace(original, **changed)))


def test_canonical_json_by_hand():
    value = {"b": [1, 2.5, None, True], "a": {"é": "x y"}, "c": 1e-8}
    assert canonical_json(value) == '{"a":{"\\u00e9":"x y"},"b":[1,2.5,null,true],"c":1e-08}'


def test_non_finite_numbers_are_strings():
    assert canonical_json([math.nan, math.inf, {"low": -math.inf}]) == '["nan","inf",{"low":"-inf"}]'


def test_digest_is_the_sha256_of_the_canonical_json():
    assert digest({"a": 1}) == "015abd7f5cc57a2d"  # printf '{"a":1}' | sha256sum
    assert digest({"a": 1}, length=64) == hashlib.sha256(b'{"a":1}').hexdigest()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none())))
def test_the_order_of_keys_does_not_matter(value):
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)
