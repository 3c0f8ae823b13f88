"""Write the tables and figures of docs/results from the records of the studies behind them.

    python scripts/results.py export runs/tokens-or-decay-markov   # the measurements, into docs/results/data
    python scripts/results.py figures runs/tokens-or-decay-markov  # pictures of its report, into docs/results
    python scripts/results.py pages                                # the tables, between the markers of each page

`pages` reads docs/results/data alone, so that anybody can make the tables again without running anything.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pliant.execution.table import Row, read_table
from pliant.records.units import format_tokens
from pliant.statistics import (
    Curve,
    Estimate,
    Reading,
    Sweep,
    base_of,
    contrast,
    gather,
    locate_minimum,
    over_seeds,
    price,
    readings,
    sweeps,
)
from pliant.studies.recipes.registry import RECIPES
from pliant.studies.signs.judged import Measured

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
KEPT = ("pretraining-loss", "task-loss", "displacement", "adaptation")
MEMBERS = ("annealed", "undecayed trunk")


def export(folder: Path, data: Path) -> Path:
    """The losses, distances and adaptation of a study as Parquet; blocks in single precision."""
    import pyarrow
    import pyarrow.parquet

    table = read_table(folder)
    rows = [row for row in table.rows if row["evaluation"] in KEPT]
    names = sorted({name for row in rows for name in row if row[name] is not None} - {"record"})
    columns = {name: [_cell(row.get(name)) for row in rows] for name in names}
    arrays = {
        name: pyarrow.array(column, type=pyarrow.list_(pyarrow.float32()) if name == "blocks" else None)
        for name, column in columns.items()
    }
    path = data / f"{table.study}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(arrays), path, compression="zstd", compression_level=19)
    return path


def _cell(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def load(study: str) -> tuple[Reading, ...]:
    """The exported measurements of `study`."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(RESULTS / "data" / f"{study}.parquet").to_pylist()
    return readings(_row(row) for row in rows)


def _row(row: Row) -> Row:
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return {**{name: value for name, value in row.items() if value is not None}, **lists}


def claims(recipe: str) -> Iterator[str]:
    """Each registered claim of a recipe against the measurements."""
    claimed = RECIPES[recipe]
    measured = Measured(load(claimed.study().study))
    yield "| registered before the runs | | observed | behind it |\n|---|---|---|---|"
    for claim in claimed.claims:
        agrees, observed, evidence = claim.judge(measured)
        yield f"| {claim.text} | **{agrees}** | {observed} | {evidence} |"


def decay_table(study: str, task: str, budget: int, against: int, fixed: Sequence[float]) -> Iterator[str]:
    """Tokens against decay: each quantity's rise on both kinds of members, and their difference at equal tokens."""
    found = load(study)
    last = format_tokens(budget)
    yield (
        f"| weight decay | quantity | decayed: {last} − {format_tokens(against)} | undecayed: {last} − "
        f"{format_tokens(against)} | decayed − undecayed at {last} |\n|---|---|---|---|---|"
    )
    for trajectory in dict.fromkeys(r.trajectory for r in found):
        mine = tuple(r for r in found if r.trajectory == trajectory)
        for name, curves in _quantities(mine, task, fixed).items():
            rises = [contrast(curves[members], budget=budget, against=against) for members in MEMBERS]
            apart = _apart(curves["annealed"], curves["undecayed trunk"], float(budget))
            cells = " | ".join(shown(estimate) for estimate in (*rises, apart))
            yield f"| {trajectory.removeprefix('weight decay ')} | {name} | {cells} |"
        yield _matched_row(mine, trajectory, task, float(budget))


def _quantities(found: Sequence[Reading], task: str, fixed: Sequence[float] = ()) -> dict[str, dict[str, Curve]]:
    """Quantity -> members -> its curve; fine-tuning at the tuned rate, the reused one, and each of `fixed`."""
    everything = gather(found)
    by_name: dict[str, dict[str, Curve]] = {}
    for key, series in everything.items():
        if key.modification == "none" and key.evaluation == "pretraining-loss":
            by_name.setdefault("base loss", {})[key.members] = series.curve()
        base = base_of(key, everything)
        if key.modification == "noise" and base is not None:
            name = f"sensitivity, {key.label} {key.strength:g}"
            by_name.setdefault(name, {})[key.members] = series.sensitivity(base)
    for sweep in sweeps(found):
        for name, of in _TUNED.items():
            by_name.setdefault(f"{task}, {name}", {})[sweep.members] = of(sweep)
    for key, series in everything.items():
        loss = "task loss" if key.evaluation == "task-loss" else "pre-training loss"
        shown_split = key.split == "test" and key.metric == "loss_nats"
        if key.modification == "fine-tune" and key.strength in fixed and shown_split:
            by_name.setdefault(f"{task}, fixed rate {key.strength:g}: {loss}", {})[key.members] = series.curve()
    return by_name


_TUNED: Mapping[str, Callable[[Sweep], Curve]] = {
    "tuned rate: task loss": lambda sweep: sweep.curve(lambda t: t.optimum_task_loss),
    "tuned rate: pre-training loss": lambda sweep: sweep.curve(lambda t: t.optimum_pretraining_loss),
    "reused rate: task loss": lambda sweep: sweep.reused(lambda p: p.task_loss),
    "reused rate: pre-training loss": lambda sweep: sweep.reused(lambda p: p.pretraining_loss),
}


def _matched_row(found: Sequence[Reading], trajectory: str, task: str, budget: float) -> str:
    from pliant.statistics.rate_choice import matched_differences

    mine = {sweep.members: sweep.rates for sweep in sweeps(found)}
    apart = matched_differences(mine["annealed"], mine["undecayed trunk"])
    estimate = over_seeds({seed: value for (seed, at), value in apart.items() if at == budget})
    name = trajectory.removeprefix("weight decay ")
    return f"| {name} | {task}, matched task loss: pre-training loss | | | {shown(estimate)} |"


def _apart(one: Curve, other: Curve, budget: float) -> Estimate:
    shared = [seed for seed in one.seeds if seed in other.seeds]
    return over_seeds({seed: one.value(seed, budget) - other.value(seed, budget) for seed in shared})


def shown(estimate: Estimate) -> str:
    """ "+.022 [+.010, +.030]" in nats, bold where the interval excludes zero."""
    value = f"{estimate.value:+.3f}"
    if not estimate.has_interval:
        return f"{value} (one run)"
    resolved = estimate.low > 0 or estimate.high < 0
    return f"{f'**{value}**' if resolved else value} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def repetition() -> Iterator[str]:
    """Signs 1, 2 and 5 at weight decay 0: the six seeds that were registered, six more, and all twelve."""
    first = [r for r in load("tokens-or-decay-markov") if r.trajectory == "weight decay 0"]
    second = load("tokens-or-decay-markov-2")
    yield (
        "| weight decay 0, seeds | quantity | decayed: 2.62M − 655K | undecayed: 2.62M − 655K | decayed − undecayed at "
        "2.62M |\n|---|---|---|---|---|"
    )
    joined = [r._replace(study="both") for r in (*first, *second)]
    for seeds, found in (("401-406", first), ("407-412", second), ("401-412", joined)):
        for name in ("skip, tuned rate: task loss", "skip, tuned rate: pre-training loss"):
            curves = _quantities(found, "skip")[name]
            rises = [contrast(curves[members], budget=2_621_440, against=655_360) for members in MEMBERS]
            apart = _apart(curves["annealed"], curves["undecayed trunk"], 2_621_440)
            yield f"| {seeds} | {name} | {' | '.join(shown(e) for e in (*rises, apart))} |"


def prices() -> Iterator[str]:
    """Each method against plain fine-tuning on Python: price, what it saves, and where it turns at rate .064."""
    found = load("springer2025-controlled-mini")
    mine = [sweep for sweep in sweeps(found) if sweep.task == "python"]
    (plain,) = (sweep for sweep in mine if sweep.method is None)
    yield (
        "| method | task loss | pre-training loss | ... at equal task loss | turns at |\n|---|---|---|---|---|\n"
        f"| plain | | | | {_turn(found, plain)} |"
    )
    for sweep in sorted((s for s in mine if s.method), key=lambda s: (s.method or "", s.amount or 0.0)):
        cost = price(sweep, plain)
        lasts = [part.last for part in (cost.task_loss, cost.pretraining_loss, cost.matched)]
        cells = " | ".join("–" if last is None else shown(last) for last in lasts)
        yield f"| {sweep.method} {sweep.amount:g} | {cells} | {_turn(found, sweep)} |"


def _turn(found: Sequence[Reading], sweep: Sweep, rate: float = 0.064) -> str:
    (curve,) = (
        series.curve()
        for key, series in gather(found).items()
        if (key.label, key.evaluation, key.strength) == (sweep.label, "pretraining-loss", rate)
    )
    minimum = locate_minimum(curve)
    low, high = min(minimum.candidates), max(minimum.candidates)
    return f"{format_tokens(minimum.budget)} [{format_tokens(low)}, {format_tokens(high)}]"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "claims fig3": lambda: claims("springer2025-fig3-mini"),
    "claims fig4": lambda: claims("springer2025-fig4-mini"),
    "claims fig6": lambda: claims("springer2025-fig6-mini"),
    "claims fig6 markov": lambda: claims("springer2025-fig6-markov-mini"),
    "claims holding-on": lambda: claims("holding-on-mini"),
    "repetition": repetition,
    "prices": prices,
    "claims fig4 markov": lambda: claims("springer2025-fig4-markov-mini"),
    "claims tokens-or-decay": lambda: claims("tokens-or-decay"),
    "claims tokens-or-decay-text": lambda: claims("tokens-or-decay-text"),
    "decay markov": lambda: decay_table("tokens-or-decay-markov", "skip", 2_621_440, 655_360, (0.004, 0.032)),
    "decay text": lambda: decay_table("tokens-or-decay-text", "python", 3_276_800, 819_200, (0.016, 0.064)),
}


def with_tables(page: str) -> str:
    """`page` with what stands between `<!-- table: NAME -->` and `<!-- end -->` made anew."""

    def made(match: re.Match[str]) -> str:
        return f"{match[1]}\n" + "\n".join(TABLES[match[2]]()) + "\n<!-- end -->"

    return re.sub(r"(<!-- table: (.+?) -->)\n.*?<!-- end -->", made, page, flags=re.DOTALL)


def write_figures(folder: Path, chosen: Sequence[str]) -> None:
    """Pictures of figures of the study's report, by their id on the page; all of them where none is chosen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme="light", device_scale_factor=1.5)
        page.goto((folder / "report.html").resolve().as_uri())
        page.wait_for_timeout(3000)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.wait_for_timeout(2000)
        for plot in page.query_selector_all("section.study [data-figure]"):
            name = plot.get_attribute("data-figure") or ""
            if not chosen:
                print(name)
            elif name in chosen:
                plot.scroll_into_view_if_needed()
                page.wait_for_timeout(500)
                figure = plot.evaluate_handle("plot => plot.closest('figure')").as_element()
                assert figure is not None, "every plot of the page stands in a figure"
                figure.screenshot(path=RESULTS / f"{name}.png")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("export", "figures", "pages"))
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=(), help="ids of figures; without, they are listed")
    given = parser.parse_args()
    for folder in given.folders:
        if given.what == "export":
            print(export(folder, RESULTS / "data"))
        else:
            write_figures(folder, given.only)
    for page in sorted(RESULTS.glob("*.md")) if given.what == "pages" else ():
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
