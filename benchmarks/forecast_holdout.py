"""Hide the last one, two and three budgets of a real ladder, forecast T* from the rest, and compare with what is found.

What is found: where the mean curve over seeds of the whole ladder is lowest at an interior budget, the vertex of the
parabola in ln T through that budget and its two neighbours. A hit is a 95 % interval that contains it. A gamma whose
curve still falls at the last budget is not scored, but to forecast a turn in range for it is a miss.

    python benchmarks/forecast_holdout.py                                  # the table of docs/forecast.md
    python benchmarks/forecast_holdout.py --export runs/forecast-ladder    # make the CSV anew from a study folder
"""

import argparse
import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pliant.records.units import format_tokens
from pliant.statistics import Curve, gather, readings
from pliant.statistics.curve import Draws
from pliant.statistics.forecast import Forecast, forecast
from pliant.statistics.gaps import Summary
from pliant.statistics.series import base_of
from pliant.statistics.turning_point import TurningPoint
from pliant.statistics.vertex import locate_vertex

LADDER = Path(__file__).parent.parent / "docs" / "data" / "forecast-ladder.csv"
COLUMNS = ("checkpoint", "tokens", "seed", "scaling", "strength", "base_loss", "modified_loss")
Curves = tuple[Curve, Mapping[float, Curve]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One gamma, `hidden` budgets hidden: the forecast from the rest, T found on the whole ladder or None, its end."""

    scaling: str
    hidden: int
    forecast: Forecast
    point: TurningPoint
    found: float | None
    last: float

    @property
    def factor(self) -> float:
        """max(T*/found, found/T*)"""
        return math.exp(abs(math.log(self.point.t_star / self.found))) if self.found else math.nan

    @property
    def hit(self) -> bool | None:
        """None where nothing is scored: no minimum was found in the whole ladder, and none was forecast in it."""
        if self.found is not None:
            return self.point.low <= self.found <= self.point.high
        return False if self.point.t_star < self.last else None


def read_ladder(path: Path) -> dict[str, Curves]:
    """scaling -> base curve and modified curves by strength."""
    base: dict[str, dict[tuple[int, float], Draws]] = {}
    modified: dict[str, dict[float, dict[tuple[int, float], Draws]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at, scaling = (int(row["seed"]), float(row["tokens"])), row["scaling"]
            base.setdefault(scaling, {})[at] = {"mean": float(row["base_loss"])}
            strengths = modified.setdefault(scaling, {})
            strengths.setdefault(float(row["strength"]), {})[at] = {"mean": float(row["modified_loss"])}
    return {s: (Curve(draws=base[s]), {g: Curve(draws=d) for g, d in modified[s].items()}) for s in base}


def without_last(curve: Curve, hidden: int) -> Curve:
    """The curve without its last `hidden` budgets."""
    kept = set(curve.budgets[: len(curve.budgets) - hidden])
    return Curve(draws={key: draws for key, draws in curve.draws.items() if key[1] in kept})


def cases(ladder: Mapping[str, Curves], hidden: tuple[int, ...], summary: Summary = "intercept") -> Iterator[Case]:
    """Every scaling, number of hidden budgets and gamma."""
    for scaling, (base, modified) in ladder.items():
        for count in hidden:
            seen = {gamma: without_last(curve, count) for gamma, curve in modified.items()}
            made = forecast(without_last(base, count), seen, summary=summary)
            for point in made.turning_points:
                vertex = locate_vertex(modified[point.gamma])
                found = vertex.tokens if vertex else None
                yield Case(
                    scaling=scaling, hidden=count, forecast=made, point=point, found=found, last=base.budgets[-1]
                )


def export(folder: Path, out: Path) -> None:
    """Write the noise rows of a study folder, means over draws, as CSV."""
    from pliant.execution.table import read_table

    series = gather(readings(read_table(folder).rows))
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, found in series.items():
            base = base_of(key, series)
            if key.modification != "noise" or key.metric != "loss_nats" or base is None:
                continue
            scaling = key.label.removeprefix("noise, ").removesuffix(" scaling")
            curve, clean = found.curve(), base.curve()
            for seed, tokens in sorted(curve.draws):
                values = (f"{c.value(seed, tokens):.7f}" for c in (clean, curve))
                writer.writerow((found.names[tokens], f"{tokens:.0f}", seed, scaling, f"{key.strength:g}", *values))


def table_row(case: Case) -> str:
    """One line of the table in docs/forecast.md."""
    point, fit = case.point, case.forecast.fit
    interval = f"{format_tokens(point.low)} - {format_tokens(point.high)}" if point.has_interval else "-"
    forecast_at = format_tokens(point.t_star) if math.isfinite(point.t_star) else "-"
    found = format_tokens(case.found) if case.found else "still falling"
    factor = f"{case.factor:.2f}" if case.found else "-"
    words = {True: "yes", False: "no", None: "-"}[case.hit]
    window = " - ".join(format_tokens(tokens) for tokens in case.forecast.window)
    chi2 = f"{fit.curvature_z:.1f}, {fit.chi2_per_dof:.1f}"
    return (
        f"| {case.scaling} | {point.gamma:g} | {case.hidden} | {found} | {forecast_at} | {interval} | {factor} | "
        f"{words} | {point.reach} | {window} | {chi2} |"
    )


HEADER = """| scaling | gamma | hidden | found | T* | 95 % interval | factor | hit | reach | window | z, chi2/dof |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladder", type=Path, default=LADDER, help="the CSV (default docs/data/forecast-ladder.csv)")
    parser.add_argument("--export", type=Path, help="a study folder to make the CSV from first")
    parser.add_argument(
        "--hidden", type=int, nargs="+", default=(1, 2, 3), help="how many budgets to hide (default 1 2 3)"
    )
    parser.add_argument("--summary", choices=("intercept", "mean log"), default="intercept", help="of gaps over gammas")
    options = parser.parse_args()
    if options.export:
        export(options.export, options.ladder)
    ladder = read_ladder(options.ladder)
    done = list(cases(ladder, tuple(options.hidden), options.summary))
    print(HEADER)
    for case in done:
        print(table_row(case))
    for scaling in ladder:
        mine = [case for case in done if case.scaling == scaling]
        scored = [case for case in mine if case.hit is not None]
        hits = sum(bool(case.hit) for case in scored)
        near = [case.factor for case in scored if case.found and case.point.ratio <= 1.5]
        middle = f"{median(near):.2f}" if near else "-"
        print(
            f"{scaling}: {hits} of {len(scored)} hits; "
            f"median error factor {middle} over {len(near)} with T* <= 1.5 T_max"
        )


if __name__ == "__main__":
    main()
