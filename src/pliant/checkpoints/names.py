"""What the name of a checkpoint says: step, tokens, stage."""

import re
from dataclasses import dataclass

from pliant.records.units import parse_tokens

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
"""No run has 10^18 steps or tokens: a longer number names something else."""
_END = r"(?![0-9A-Za-z.])"
_TOKENS = re.compile(rf"(?<![A-Za-z])tokens?[-_]?{_NUMBER}([KMBT]?){_END}", re.IGNORECASE)
_STEP = re.compile(rf"(?<![0-9A-Za-z])(?:step[-_]?|checkpoint[-_]){_NUMBER}([KM]?){_END}", re.IGNORECASE)
# TinyLlama's `step-240k-503b`. Without the k, `step-1000-7b` may as well name a model of 7B parameters.
_STEP_AND_TOKENS = re.compile(rf"(?<![0-9A-Za-z])step[-_]?[0-9]+[KM][-_]{_NUMBER}([BT]){_END}", re.IGNORECASE)
_INDEX = re.compile(rf"(?<![0-9A-Za-z])ckpt[-_]([0-9]{{1,18}}){_END}", re.IGNORECASE)
_STAGE = re.compile(
    r"(?<![0-9A-Za-z])(stage[0-9]+(?:-ingredient[0-9]+)?|lc-[0-9]+k-to-[0-9]+k)(?![0-9A-Za-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFacts:
    """What a name says; None where it says nothing.

    `index` counts saved checkpoints (`ckpt_100`), not steps. `tokens_unit` is the last digit of the tokens as
    written: a billion for `tokens4B`. In a later stage a name usually counts from the beginning of that stage.
    """

    step: int | None = None
    tokens: int | None = None
    tokens_unit: int | None = None
    stage: str | None = None
    index: int | None = None


def read_name(name: str) -> NameFacts:
    """The facts in the name of a revision, folder or repository.

    `stage2-ingredient1-step11931-tokens100B`, `step143000`, `checkpoint-500`, `stage1-step-40000`, `ckpt_100`,
    `TinyLlama-1.1B-step-50K-105b`. A bare size as in `OLMo-1B` is one of the model and counts for nothing.
    """
    tokens = _TOKENS.search(name) or _STEP_AND_TOKENS.search(name)
    step, stage, index = _STEP.search(name), _STAGE.search(name), _INDEX.search(name)
    return NameFacts(
        step=_whole(step[1], step[2]) if step else None,
        tokens=_count(tokens[1], tokens[2]) if tokens else None,
        tokens_unit=_unit(tokens[1], tokens[2]) if tokens else None,
        stage=stage[1].lower() if stage else None,
        index=int(index[1]) if index else None,
    )


def tokens_in_name(name: str) -> int | None:
    """`step1000-tokens4B` -> 4_000_000_000, `step0-tokens0B` -> 0; None where the name says nothing."""
    return read_name(name).tokens


def natural_order(name: str) -> list[int | str]:
    """A sort key under which `part 9` comes before `part 10`: text and numbers in turn."""
    parts = enumerate(re.split(r"([0-9]{1,1000})", name))  # Python refuses to read numbers of many more digits
    return [int(part) if place % 2 else part for place, part in parts]


def _count(number: str, suffix: str) -> int:
    return parse_tokens(number + suffix) if float(number) else 0


def _unit(number: str, suffix: str) -> int:
    decimals = len(number.partition(".")[2])
    return max(1, int(parse_tokens("1" + suffix) // 10**decimals))


def _whole(number: str, suffix: str) -> int | None:
    """Steps are whole: `1.5` is the version of something, `1.5K` is 1500."""
    return _count(number, suffix) if suffix or "." not in number else None
