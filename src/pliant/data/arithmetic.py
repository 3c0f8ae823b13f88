"""Generated word problems of grade-school kind, short enough for a context of 64 bytes."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pliant.data.corpora import SPLITS, Split

NAMES = ("Ann", "Ben", "Dan", "Eve", "Flo", "Gus", "Ida", "Joe", "Kim", "Leo", "Mia", "Ned", "Pam", "Sue")
THINGS = ("pens", "nuts", "eggs", "hats", "figs", "cups", "toys", "keys", "cats", "maps", "jars", "nets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A question with places for {name}, {thing}, {a}, {b}, {c}, and the number that answers it."""

    question: str
    solve: Callable[[int, int, int], int]


TEMPLATES = (
    Template(question="{name} has {a} {thing}, buys {b}. Total?", solve=lambda a, b, c: a + b),
    Template(question="{name} had {a} {thing} and found {b}. How many now?", solve=lambda a, b, c: a + b),
    Template(question="{name} has {a} {thing}, loses {b}. Left?", solve=lambda a, b, c: a - b),
    Template(question="{name} had {a} {thing} and sold {b}. How many left?", solve=lambda a, b, c: a - b),
    Template(question="{name} fills {b} bags, {a} {thing} each. Total?", solve=lambda a, b, c: a * b),
    Template(question="{a} {thing} cost {b} each. What does {name} pay?", solve=lambda a, b, c: a * b),
    Template(question="{name} has {a} {thing}, gets {b}, gives {c}. Left?", solve=lambda a, b, c: a + b - c),
    Template(question="{name} has {a} {thing}, uses {b}, then {c}. Left?", solve=lambda a, b, c: a - b - c),
    Template(question="{name} buys {a} {thing}, {b} and {c} more. Total?", solve=lambda a, b, c: a + b + c),
)
LARGEST = 20
SEED = 1
SIZES: dict[Split, int] = {"train": 3000, "validation": 400, "test": 900}


def problems(seed: int = SEED) -> dict[Split, list[tuple[str, str]]]:
    """(question, answer) pairs by split, e.g. ("Ann has 3 pens, buys 5. Total? ", "8.").

    A pure function of `seed`. A hash of the template and its numbers fixes the split they belong to, so no
    two splits share them, whatever the seeds; the seed draws which of them appear, names and things.
    """
    generator = random.Random(seed)
    drawn: dict[Split, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        candidates = [numbers for numbers in _combinations() if _split(*numbers) == split]
        generator.shuffle(candidates)
        drawn[split] = [_problem(generator, *numbers) for numbers in candidates[: SIZES[split]]]
    return drawn


def _combinations() -> Iterator[tuple[int, int, int, int]]:
    """(template, a, b, c) with 2 <= a, b, c <= 20 and no negative answer; c is 0 where the question has none.

    Two-step questions take few of their many combinations, by a fixed stride, so that none dominates.
    """
    numbers = range(2, LARGEST + 1)
    for index, template in enumerate(TEMPLATES):
        thirds = numbers if "{c}" in template.question else (0,)
        found = [(a, b, c) for a in numbers for b in numbers for c in thirds if template.solve(a, b, c) >= 0]
        stride = max(1, len(found) // 1000)
        yield from ((index, *combination) for combination in found[::stride])


def _split(template: int, a: int, b: int, c: int) -> Split:
    percent = hashlib.sha256(f"{template} {a} {b} {c}".encode()).digest()[0] * 100 // 256
    return "train" if percent < 70 else "validation" if percent < 80 else "test"


def _problem(generator: random.Random, template: int, a: int, b: int, c: int) -> tuple[str, str]:
    name, thing = generator.choice(NAMES), generator.choice(THINGS)
    question = TEMPLATES[template].question.format(name=name, thing=thing, a=a, b=b, c=c)
    return f"{question} ", f"{TEMPLATES[template].solve(a, b, c)}."
