"""What comes from outside, taken within bounds: JSON, names that become paths, text that is shown."""

import json
import re
from functools import lru_cache
from typing import Any

LONGEST_NAME = 255
"""Bytes that a file system takes for the name of one file."""
LONGEST_TEXT = 1000
"""Characters of a name that is shown; no name of a checkpoint, trajectory or task comes near it."""
# Controls, escape sequences of terminals among them; line separators; marks that reverse what is read; half characters.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def parse_json(text: str | bytes) -> Any:
    """The value that `text` writes.

    Raises:
        ValueError: no JSON, not UTF-8, a number of thousands of digits, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_plain_name(name: object) -> bool:
    """Whether `name` can only be the name of a file or folder where it is put: no path, and nothing unprintable."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not {"/", "\\"} & set(name)
        and _UNFIT.search(name) is None
        and len(name.encode()) <= LONGEST_NAME
    )


def is_text(value: object) -> bool:
    """Whether `value` is a text, or empty, that does nothing but be read where it is shown in a terminal or a page."""
    return isinstance(value, str) and _is_harmless(value)


def is_shown_name(value: object) -> bool:
    """Whether `value` is such a text and names something."""
    return is_text(value) and bool(str(value).strip())


@lru_cache(maxsize=4096)  # a few names stand in every record of a study
def _is_harmless(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and _UNFIT.search(text) is None


def clipped(value: object, length: int = 80) -> str:
    """`repr(value)`, of a long one its beginning: what an error quotes of what it was given."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
