"""Text from outside within bounds, and secrets taken out of what is told."""

import os
import time

import pytest

from pliant.records.outside import clipped, is_plain_name, is_shown_name, parse_json
from pliant.records.outside_yaml import MOST_CHARACTERS, MOST_VALUES, parse_yaml
from pliant.records.redaction import redacted
from pliant.records.units import parse_tokens
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a\nb", "\x1b[2J", "\ud800", "é" * 128, 5, None],
)
def test_what_is_no_name_of_a_file(name: object):
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", ".part", "...", "a b", "é" * 127, "步骤"])
def test_what_is_one(name: str):
    assert is_plain_name(name)


def test_names_that_are_shown_have_no_controls_and_do_not_turn_around():
    assert is_shown_name("wsd, weight decay 0.1 [/b] <script>")
    for name in ("", "  ", "a\nb", "\x1b]0;title\x07", "\u202egnp.exe", "\x9b31m", "x" * 1001, None):
        assert not is_shown_name(name)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", b"\xff"])
def test_json_out_of_bounds_is_a_value_error(text: str | bytes):
    with pytest.raises(ValueError):
        parse_json(text)


def test_an_error_quotes_the_beginning_only():
    assert clipped("a" * 1000) == "'" + "a" * 79 + "..."
    assert clipped("a") == "'a'"


def laughs(levels: int) -> str:
    """Each line stands for ten times the line before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_aliases_of_aliases_are_counted_before_they_are_spelt_out():
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"it holds [0-9,]+ values with its aliases spelt out, expected at most"):
        parse_yaml(laughs(20))
    assert time.process_time() - begun < 1
    assert len(parse_yaml(laughs(3))["a2"]) == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [*a]", "an alias names what it is a part of"),
        ("[" * 1_000, "nested too deeply"),
        ("a: " * 3, "mapping values are not allowed"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        (" " * (MOST_CHARACTERS + 1), "characters long, expected at most"),
        ("[" + "1," * (MOST_VALUES + 1) + "]", "values with its aliases spelt out"),
    ],
)
def test_yaml_out_of_bounds_is_one_line(text: str, says: str):
    with pytest.raises(ValueError, match=says) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError, match=rf"^mine.yaml is not YAML: .*{says}"):
        parse_study(text, "mine.yaml")


def test_aliases_as_people_use_them_are_read():
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


@pytest.mark.parametrize("text", ["9" * 400, "1e999", 10**18, "1000000T"])
def test_a_token_count_has_an_end(text: str | int):
    with pytest.raises(ValueError, match="is not a token count"):
        parse_tokens(text)


TOKEN = "hf_" + "Ab3" * 11


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET https://user:word-of-pass@hub.example/x failed", "GET https://***@hub.example/x failed"),
        (f"headers: {{'authorization': 'Bearer {TOKEN}'}}", "headers: {'authorization': 'Bearer ***'}"),
        (f"token {TOKEN} is expired", "token hf_*** is expired"),
        ("s3: AKIAIOSFODNN7EXAMPLE denied", "s3: AKIA*** denied"),
        ("https://b.example/k?X-Amz-Signature=0a1b&X-Amz-Date=2&part=1", "https://b.example/k?X-Amz-Signature=***&X-Amz-Date=***&part=1"),
        ("https://b.example/k?page=2", "https://b.example/k?page=2"),
        ("nothing secret: org/name@step1000", "nothing secret: org/name@step1000"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_taken_out(text: str, kept: str):
    assert redacted(text) == kept


def test_what_the_environment_calls_a_secret_is_taken_out(monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if "KEY" in name or "TOKEN" in name or "SECRET" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("MY_PASSWORD", "short")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "possibly-not")
    told = "wJalrXUtnFEMI/K7MDENG refused; short; possibly-not"
    assert redacted(told) == "*** refused; short; possibly-not"
