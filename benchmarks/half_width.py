"""Where draws of noise are needed, and whether more held-out text would do instead: from the records of a study.

For each noise: the half-width of the sensitivity's 95 % interval that its draws leave, at the median checkpoint, and
the one that the held-out text leaves (over its blocks); then the draws in all that bring +-TARGET nats to every
checkpoint, and to those on which the verdict hangs, n x (half-width / TARGET)^2 each, `MOST` at most.

    python benchmarks/half_width.py runs/demo/english --target 0.005 --json
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from pliant.execution.table import read_table
from pliant.statistics import Reading, Series, base_of, gather, over_draws, readings
from pliant.statistics.precision import half_width_of, open_budgets

MOST = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One noise; half-widths in nats per token, at the median checkpoint."""

    noise: str
    by_draws: float
    by_text: float
    draws_everywhere: int
    draws_where_open: int
    checkpoints: int
    open_checkpoints: int

    def __str__(self) -> str:
        return (
            f"{self.noise}: +-{self.by_draws:.4f} by the draws, +-{self.by_text:.4f} by the text; "
            f"{self.draws_everywhere:,} draws at {self.checkpoints} checkpoints, {self.draws_where_open:,} at the "
            f"{self.open_checkpoints} on which the verdict hangs"
        )


def row(one: Series, base: Series, target: float) -> Row:
    curve, hangs = one.sensitivity(base), open_budgets(one.curve())
    halves = {at: half_width_of(over_draws(list(draws.values()), seed=at[0])) for at, draws in curve.draws.items()}
    needed = {
        at: max(len(curve.draws[at]), min(MOST, math.ceil(len(curve.draws[at]) * (half / target) ** 2)))
        for at, half in halves.items()
    }
    where = [at for at in needed if at[1] in hangs]
    return Row(
        noise=f"{one.key.label} {one.key.strength:g} ({one.key.trajectory})",
        by_draws=float(np.median(list(halves.values()))),
        by_text=float(np.median([text_half_width(one.points[at], base.points[at][0]) for at in halves])),
        draws_everywhere=sum(needed.values()),
        draws_where_open=sum(needed[at] for at in where),
        checkpoints=len(needed),
        open_checkpoints=len(where),
    )


def text_half_width(copies: tuple[Reading, ...], base: Reading) -> float:
    """Over the blocks of text, of the mean sensitivity of all copies."""
    per_block = np.mean([np.divide(copy.blocks, copy.count) for copy in copies], axis=0)
    change = per_block - np.divide(base.blocks, base.count)
    return float(stdtrit(len(change) - 1, 0.975) * change.std(ddof=1) / math.sqrt(len(change)))


def rows(folder: Path, target: float) -> list[Row]:
    series = gather(readings(read_table(folder).rows))
    noisy = [
        (one, base_of(key, series))
        for key, one in series.items()
        if key.modification == "noise" and key.evaluation == "pretraining-loss" and key.metric == "loss_nats"
    ]
    return [row(one, base, target) for one, base in noisy if base is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", type=float, default=0.005, help="nats per token")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = rows(given.folder, given.target)
    if given.json:
        print(json.dumps({"target": given.target, "noise": [asdict(one) for one in found]}, indent=1))
        return
    everywhere, where = sum(one.draws_everywhere for one in found), sum(one.draws_where_open for one in found)
    print(*found, f"all: {where:,} of {everywhere:,} draws ({where / everywhere:.2f})", sep="\n")


if __name__ == "__main__":
    main()
