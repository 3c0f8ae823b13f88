"""Whatever stands in a file from outside, reading it ends with a value or with the documented error."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import targets

texts = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    [
        "../x",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a\x00b",
        "x" * 300,
        "nan",
        "inf",
        "1e999",
        "9" * 400,
        "\x1b[2J",
        "<b>",
        "a/b",
    ]
)
numbers = st.integers() | st.sampled_from([2**63, -1, 10**400]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    max_leaves=6,
)
rarely = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every part of `value`, by the keys that lead there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def with_part(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    """`value` with another part at `path`."""
    if not path:
        return part
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_part(value[path[0]], path[1:], part)
    return changed


def changed(document: Any) -> st.SearchStrategy[Any]:
    """`document` with one part, or two, replaced by anything."""
    one = st.tuples(st.sampled_from(places(document)[1:]), values)
    return one.map(lambda change: with_part(document, *change))


DOCUMENTS = {
    "spec": targets.STUDY,
    "plan": targets.PLAN,
    "record": targets.RECORD,
    "index": targets.INDEX,
    "facts": targets.ABOUT | targets.TRAINER,
    "trainer": targets.TRAINER,
    "config": targets.CONFIG,
    "pins": targets.PINS,
    "rows": targets.CHAT["row"],
    "chat": targets.CHAT,
}


@pytest.mark.parametrize("name", DOCUMENTS)
@rarely
@given(st.data())
def test_a_sound_file_with_one_part_replaced(name: str, data: st.DataObject):
    document = data.draw(changed(DOCUMENTS[name]))
    targets.TARGETS[name].check(json.dumps(document).encode("utf-8", errors="surrogatepass"))


@rarely
@given(changed(targets.HEADER), st.binary(max_size=40))
def test_a_header_with_one_part_replaced(header: Any, tensors: bytes):
    targets.TARGETS["header"].check(targets.safetensors(header, tensors))


@rarely
@given(changed(targets.STUDY))
def test_a_study_with_one_part_replaced_as_yaml(study: Any):
    targets.TARGETS["spec"].check(yaml.safe_dump(study, allow_unicode=True).encode("utf-8", errors="replace"))


@pytest.mark.parametrize("name", targets.TARGETS)
@rarely
@given(st.binary(max_size=200) | texts.map(lambda text: text.encode("utf-8", errors="surrogatepass")))
def test_any_bytes(name: str, content: bytes):
    targets.TARGETS[name].check(content)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_is_sound_is_taken(name: str):
    targets.TARGETS[name].run(targets.TARGETS[name].seeds[0])


FOUND = sorted((Path(targets.__file__).parent / "found").glob("*/*"))


@pytest.mark.parametrize("file", FOUND, ids=[f"{file.parent.name}-{file.name}" for file in FOUND])
def test_what_the_fuzzers_found(file: Path):
    targets.TARGETS[file.parent.name].check(file.read_bytes())
