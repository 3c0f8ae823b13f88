"""What stopping at a precision does: bias and coverage of a mean whose draws end by the width of its interval.

A draw is half a sum of squares of `rank` normals, as noise on a quadratic gives, so its relative scatter is
sqrt(2 / rank); or that on one of eight parts of the text that differ. Run: python benchmarks/stopping.py --trials 4000
"""

import argparse
import math

import numpy as np

from pliant.statistics import draws_to_precision, over_draws
from pliant.statistics.rotation import levelled

PRECISION = 0.05
MOST = 4096
PARTS = 8


def whole(random: np.random.Generator, rank: int, n: int) -> list[float]:
    """n draws of mean 1."""
    values: list[float] = (random.chisquare(rank, size=n) / rank).tolist()
    return values


def rotating(random: np.random.Generator, rank: int, n: int, before: dict[int, list[float]]) -> list[float]:
    """n draws more, in turn on parts of mean 0.65 .. 1.35, levelled together with those `before`."""
    for part in range(PARTS):
        mean = 1 + (part - (PARTS - 1) / 2) / 10
        before.setdefault(part, []).extend((mean * random.chisquare(rank, size=n // PARTS) / rank).tolist())
    draws = {part: {(part, d): value for d, value in enumerate(mine)} for part, mine in before.items()}
    return list(levelled(draws, dict.fromkeys(draws, 1)).values())


def stopped(random: np.random.Generator, rank: int, *, block: int, copies: int, parts: bool) -> tuple[float, bool, int]:
    """The mean, whether its interval holds 1, and the number of draws."""
    draws: list[float] = []
    kept: dict[int, list[float]] = {}
    wanted = block
    while len(draws) < wanted:
        more = block * math.ceil((wanted - len(draws)) / block)
        draws = rotating(random, rank, more, kept) if parts else draws + whole(random, rank, more)
        wanted = draws_to_precision(draws, precision=PRECISION, copies=copies, most=MOST)
    found = over_draws(draws, seed=0)
    return found.value, found.low <= 1 <= found.high, len(draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    for rank in (5, 20, 80, 200, 1000):
        for name, how in {
            "pairs, blocks of 8": {"block": 8, "copies": 2, "parts": False},
            "single, blocks of 8": {"block": 8, "copies": 1, "parts": False},
            "pairs on 8 parts, blocks of 16": {"block": 16, "copies": 2, "parts": True},
        }.items():
            random = np.random.default_rng([rank, len(name)])
            found = [stopped(random, rank, **how) for _ in range(trials)]  # type: ignore[arg-type]
            values, hits, draws = (np.array(column) for column in zip(*found, strict=True))
            print(
                f"relative scatter {math.sqrt(2 / rank):.2f}, {name}: bias {100 * (values.mean() - 1):+.2f} % "
                f"+-{100 * values.std() / math.sqrt(trials):.2f}, coverage {100 * hits.mean():.1f} %, "
                f"draws {np.median(draws):.0f} (median)",
                flush=True,
            )


if __name__ == "__main__":
    main()
