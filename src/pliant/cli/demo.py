"""Run the demo: two small studies on this machine, one report, a few minutes, offline.

Tiny language models are pre-trained on English text and on a synthetic language at growing token budgets; each is
then perturbed with noise and fine-tuned. Stop it at any time: the same command continues.

Example: [bold]pliant demo --out runs/demo[/bold]
"""

from enum import StrEnum
from pathlib import Path

import typer

from pliant.cli.progress import Log
from pliant.cli.remotes import study_folder
from pliant.cli.running import begin_workers, run_and_watch
from pliant.records.units import MARGIN_NATS


class Control(StrEnum):
    weight_decay = "weight-decay"


class Which(StrEnum):
    english = "english"
    markov = "markov"
    sibling = "sibling"


def command(
    out: str = typer.Option("runs/demo", help="Folder, or URL, for the two studies and report.html."),
    full: bool = typer.Option(False, "--full", help="Longer ladders, a third study, quantisation."),
    control: Control | None = typer.Option(None, help="weight-decay: add the English ladder without weight decay."),
    first_seed: int = typer.Option(1, help="Pre-training seeds start here; other seeds repeat the experiment."),
    scale: float = typer.Option(1.0, help="Shrink everything for a trial run, whose numbers mean nothing."),
    workers: int | None = typer.Option(None, help="Worker processes; by default one a core."),
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
    write_study: Path | None = typer.Option(None, help="Write one of the studies as YAML to this file, and stop."),
    study: Which = typer.Option(Which.english, help="Which study --write-study writes."),
) -> None:
    if write_study is None:
        begin_workers(workers, *(Path(out, name.value) for name in Which))
    from pliant.studies.demo import english_study, markov_study, sibling_study
    from pliant.studies.spec import SpecError

    if not 0 < scale <= 1:
        raise SpecError(f"--scale must lie above 0 and be at most 1, got {scale}")
    studies = {
        Which.english: english_study(full=full, control=control is not None, first_seed=first_seed, scale=scale),
        Which.markov: markov_study(full=full, first_seed=first_seed, scale=scale),
    }
    if full or study is Which.sibling:
        studies[Which.sibling] = sibling_study(first_seed=first_seed, scale=scale)
    if write_study is not None:
        _write(write_study, studies[study])
        return
    from pliant.cli.outcome import conclude
    from pliant.studies.demo import NO_CONTROL_NOTE, NOTES, SCALED_NOTE

    place = study_folder(out)
    folders = [(spec, place / name.value) for name, spec in studies.items()]
    tables, failures = run_and_watch(folders, workers=workers, log=log)
    notes = [*NOTES, *([] if control else [NO_CONTROL_NOTE]), *([SCALED_NOTE] if scale < 1 else [])]
    report = place / "report.html"
    conclude(tables, failures, report=report, title="pliant demo", notes=notes, margin=margin, as_json=as_json)


def _write(file: Path, spec: object) -> None:
    from pliant.studies.spec import SpecError, StudySpec
    from pliant.studies.study_file import to_yaml

    assert isinstance(spec, StudySpec)
    if file.exists():
        raise SpecError(f"{file} exists already; give a new name")
    file.write_text(to_yaml(spec), encoding="utf-8")
    typer.echo(f"wrote {file}; run it with: pliant run {file}")
