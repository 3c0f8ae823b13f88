"""Pre-train a ladder: one recipe at growing token budgets, each member an ordinary Hugging Face folder.

Example: [bold]pliant pretrain --corpus text.jsonl --preset width-32 --budgets 500K,1M,2M --out runs/ladder[/bold]
"""

from pathlib import Path

import typer

from pliant.cli.progress import Log
from pliant.cli.remotes import study_folder
from pliant.cli.running import begin_workers, run_and_watch


def command(
    out: str = typer.Option(..., help="Folder or URL of the ladder (an ordinary study folder)."),
    corpus: str = typer.Option("english", help="english, markov:SEED, a path to text, or a Hub dataset."),
    tokenizer: str | None = typer.Option(None, help="bytes, a folder with tokenizer.json, or a Hub name."),
    preset: str = typer.Option("width-8", help="Shape: width-8, width-32, 1M, 5M, 15M, 30M, 90M, ..."),
    budgets: str = typer.Option("200K,400K,800K", help="Token budgets, growing, separated by commas."),
    seeds: str = typer.Option("1", help="Pre-training seeds, separated by commas."),
    learning_rate: float = typer.Option(1e-2, help="Peak learning rate."),
    weight_decay: float = typer.Option(0.1, help="AdamW's weight decay, on everything but gains."),
    schedule: str = typer.Option("wsd", help="wsd (one trunk, a decay a budget), cosine, linear or constant."),
    warmup_steps: int = typer.Option(20, help="Steps of linear warm-up."),
    batch_windows: int = typer.Option(32, help="Windows of the model's context in a step."),
    max_epochs: float = typer.Option(1.0, help="How often the text may be read."),
    workers: int | None = typer.Option(None, help="Worker processes; by default one a core, 0 for none."),
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
) -> None:
    begin_workers(workers, out)
    from pliant.studies.spec import SpecError
    from pliant.studies.study_file import parse_study

    name = Path(out).resolve().name
    content = {
        "study": name,
        "corpus": _anchored(corpus),
        "tokenizer": _anchored(tokenizer) if tokenizer else None,
        "trajectories": [
            {
                "name": "ladder",
                "ladder": {
                    "architecture": preset,
                    "recipe": {
                        "learning_rate": learning_rate,
                        "batch_windows": batch_windows,
                        "schedule": {"kind": schedule, "warmup_steps": warmup_steps},
                        "optimisation": {"weight_decay": weight_decay},
                    },
                    "budgets": [part.strip() for part in budgets.split(",")],
                    "seeds": [_whole(part) for part in seeds.split(",")],
                    "max_epochs": max_epochs,
                },
            }
        ],
    }
    import json

    spec = parse_study(json.dumps(content), "the options")  # JSON is YAML
    tables, failures = run_and_watch([(spec, study_folder(out))], workers=workers, log=log)
    if failures:
        raise SpecError("; ".join(failure.error.splitlines()[0] for failure in failures))
    _list(tables[0])


def _anchored(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


def _whole(text: str) -> int:
    from pliant.studies.spec import SpecError

    try:
        return int(text)
    except ValueError:
        raise SpecError(f"--seeds: {text!r} is not a whole number; write for example 1,2,3") from None


def _list(table: object) -> None:
    from rich.table import Table as Grid

    from pliant.cli.outcome import console
    from pliant.execution.mirrors import shown
    from pliant.execution.table import Table
    from pliant.records.units import bits_per_byte, perplexity

    assert isinstance(table, Table)
    grid = Grid("checkpoint", "seed", "learning rate", "epochs", "nats/token", "bits/byte", "perplexity")
    for row in table.rows:
        if row["evaluation"] == "pretraining-loss":
            rate, epochs = f"{row['pretraining_learning_rate']:.3g}", f"{row['epochs']:.3f}"
            per_byte = row["bytes_per_token"]
            bits = f"{bits_per_byte(row['value'], per_byte):.4f}" if per_byte else "-"
            losses = (f"{row['value']:.4f}", bits, f"{perplexity(row['value']):.4g}")
            grid.add_row(row["checkpoint"], str(row["pretraining_seed"]), rate, epochs, *losses)
    screen = console()
    screen.print(grid)
    screen.print(f"folders: {shown(table.folder / 'artifacts')}")
