"""YAML from outside: plain values only, and no more of them than a file of that kind ever needs."""

from typing import Any

import yaml

MOST_CHARACTERS = 4_000_000
MOST_VALUES = 200_000
"""Counted with every alias spelt out: ten lines of aliases of aliases can stand for billions of values."""


def parse_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value that `text` writes, by a `loader` that makes plain values only and runs nothing.

    Raises:
        ValueError: no YAML, longer or of more values than the bounds above, an alias of itself, or nested too deeply.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it is {len(text):,} characters long, expected at most {MOST_CHARACTERS:,}")
    try:
        reader = loader(text)
        node = reader.get_single_node()
        if node is None:
            return None
        if (values := _values(node, {}, set())) > MOST_VALUES:
            raise ValueError(f"it holds {values:,} values with its aliases spelt out, expected at most {MOST_VALUES:,}")
        return reader.construct_document(node)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (AttributeError, LookupError, OverflowError, TypeError) as error:  # !!timestamp x, !!bool x, !!int ""
        raise ValueError(f"a value is not what its tag says ({error})") from error


def _values(node: yaml.Node, known: dict[int, int], around: set[int]) -> int:
    """How many values `node` stands for, each node counted as often as aliases repeat it."""
    if id(node) in around:
        raise ValueError("an alias names what it is a part of")
    if id(node) not in known:
        inside = (
            [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode)
            else node.value if isinstance(node, yaml.SequenceNode)
            else []
        )  # fmt: skip
        around.add(id(node))
        known[id(node)] = 1 + sum(_values(part, known, around) for part in inside)
        around.discard(id(node))
    return known[id(node)]
