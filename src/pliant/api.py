"""The facade for Python users: `pliant.study("study.yaml").run().report("out.html")`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.audit.audit import Audit, Depth
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.sources import is_repository
from pliant.checkpoints.trajectory import Trajectory
from pliant.checkpoints.trajectory import trajectory as read_trajectory
from pliant.evaluation.losses import loss_measurement
from pliant.execution.engine import Engine, TaskFailure, UserError
from pliant.execution.mirrors import local_folder, mirror_of, publish, shown
from pliant.execution.table import Table, read_table
from pliant.modifications.merge import write_merge
from pliant.modifications.merge_weights import MergeWeights
from pliant.modifications.noise import Noise, Scaling, noisy_variants
from pliant.modifications.variant import keep_base, restore
from pliant.records.numerics import Numerics
from pliant.records.units import MARGIN_NATS
from pliant.report.html import write_report
from pliant.report.scores import read_scores
from pliant.report.summary import Summary, summarise
from pliant.statistics import Estimate, over_draws
from pliant.studies import auditing
from pliant.studies.engines import EngineChoice, EngineKind
from pliant.studies.materials import MaterialSpec, open_materials
from pliant.studies.members import members_of
from pliant.studies.recipes.claims import judge_claims, recipe_notes
from pliant.studies.recipes.opening import grown
from pliant.studies.recipes.registry import find_recipe
from pliant.studies.runner import run_studies
from pliant.studies.settling import STUDY_FILE
from pliant.studies.spec import StudySpec, TrajectorySpec
from pliant.studies.study_file import read_recipe, read_study
from pliant.studies.trust import check_trust
from pliant.training.decoder import choose_forward

__all__ = ["Results", "Study", "audit", "merge", "recipe", "sensitivity", "study", "trajectory", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The records of one or more studies as tables, and what could not be done."""

    tables: tuple[Table, ...]
    failures: tuple[TaskFailure, ...] = ()

    def summary(self, *, margin: float = MARGIN_NATS) -> Summary:
        """Verdicts, numbers with intervals, caveats: what the terminal and the report show. `margin` in nats."""
        return summarise(self.tables, margin=margin)

    def report(self, out: str | Path, *, title: str = "", notes: Sequence[str] = ()) -> Path:
        """Write the self-contained HTML report to `out` and return its path."""
        heading = title or ", ".join(table.study for table in self.tables)
        told = (*notes, *recipe_notes(self.tables))
        place = write_report(self.tables, Path(out), title=heading, notes=told, expectations=judge_claims(self.tables))
        publish(place)
        return place


def verdict(scores: str | Path, *, margin: float = MARGIN_NATS) -> Summary:
    """The verdict on a CSV of losses measured elsewhere, or on a study folder or its URL; `margin` (nats) is a rise
    that matters.

    Raises:
        ValueError: the file is no such table; see `pliant.report.scores.read_scores`.
    """
    place = local_folder(scores)
    return summarise([read_table(place) if place.is_dir() else read_scores(place)], margin=margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study and its folder, that of a remote one being its mirror. `run` does what is missing there, so calling it
    again continues."""

    spec: StudySpec
    folder: Path

    def run(
        self, *, workers: int | None = None, engine: Engine | EngineKind = "local", address: str | None = None
    ) -> Results:
        """Run what has no record yet, without output; `workers=0` runs in this process.

        `engine` "ray" runs on the Ray cluster at `address` ("auto", "HOST:PORT", "ray://HOST:PORT"), or without one on
        a cluster of this machine for as long as the run lasts; a connection that Ray has already is used and kept.

        Raises:
            ValueError: bad input, found before anything runs.
        """
        self._follow_remote()
        chosen = EngineChoice(kind=engine, address=address) if isinstance(engine, str) else engine
        tables, failures = run_studies(
            [(self.spec, self.folder)], engine=chosen, workers=workers, observe=lambda _: lambda _: None
        )
        return Results(tables=tuple(tables), failures=tuple(failures))

    def results(self) -> Results:
        """The records that are there, without running anything."""
        self._follow_remote()
        return Results(tables=(read_table(self.folder),))

    def _follow_remote(self) -> None:
        """A remote may have changed since it was opened."""
        if (mirror := mirror_of(self.folder)) is not None:
            mirror.pull()


def study(
    source: str | Path | StudySpec,
    *,
    out: str | Path | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Study:
    """A study in `out` or `runs/<study>`: from a YAML file, a study folder, a `StudySpec`, or a recipe function.

    A study folder may be a URL (s3://bucket/folder), in `out` too.

    A recipe function takes no arguments, returns a `StudySpec` and is named `module:function`. A file or folder that
    asks for pickled weights, or for code that comes with checkpoints or benchmarks, is refused unless it is allowed.

    Raises:
        ValueError: the source cannot be read, does not say what pliant understands, or asks for what is not allowed.
    """
    if isinstance(source, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source):
        source = read_recipe(source)
    if isinstance(source, StudySpec):
        if allow_pickle or trust_remote_code:
            check_trust(source, source.study, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        return Study(spec=source, folder=_folder(out, source.study))
    place = local_folder(source)
    if place.is_dir():
        if not (place / STUDY_FILE).is_file():
            raise UserError(
                f"{shown(place)} holds no {STUDY_FILE}; give a study file or a folder that `pliant run` made"
            )
        opened = Study(spec=read_study(place / STUDY_FILE), folder=place)
        check_trust(opened.spec, shown(place), allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        return opened
    spec = read_study(place)
    check_trust(spec, str(place), allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    return Study(spec=spec, folder=_folder(out, spec.study))


def _folder(out: str | Path | None, name: str) -> Path:
    return local_folder(out) if out is not None else Path("runs") / name


def recipe(name: str, *, out: str | Path | None = None) -> Study:
    """The study of a published result (`pliant recipes` lists them) in `out` or `runs/<study>`.

    Recipes of one study share a folder: what it asks for already stays, and the recipe's modifications are added.

    Raises:
        ValueError: no such recipe, or a folder in which its study was changed.
    """
    found = find_recipe(name)
    folder = _folder(out, found.study().study)
    return Study(spec=grown(found, folder), folder=folder)


def trajectory(source: str | Path) -> Trajectory:
    """The checkpoints in a folder, or the revisions of a Hub repository (`org/name`, `org/name@step*`), in order.

    Of a repository only names and file metadata are asked for; `member.revision` holds them.

    Raises:
        ValueError: no checkpoints there, or a repository that cannot be listed.
    """
    if not is_repository(str(source), below=Path()):
        return read_trajectory(source)
    found = members_of(TrajectorySpec(name=str(source), checkpoints=str(source)), purpose="list")
    return Trajectory(name=str(source), members=found.members)


def audit(
    source: str | Path,
    *,
    depth: Depth | None = None,
    corpus: str | None = None,
    tokenizer: str | None = None,
    tokens: int | None = None,
) -> Audit:
    """What `pliant audit` finds in a folder (to the depth of loss) or a Hub repository (of metadata, by default).

    `depth` metadata, weights or loss; the latter two fetch the checkpoints of a repository one at a time. `corpus`,
    `tokenizer` and `tokens` are for the loss; by default 4096 tokens of `english`.

    Raises:
        ValueError: no checkpoints there, or text or tokenizer that do not open or have no effect.
    """
    entry = TrajectorySpec(name=str(source), checkpoints=str(source))
    found = members_of(entry, purpose="audit")
    absent = auditing.absent_findings(found, entry)
    return auditing.audit(found.members, depth=depth, corpus=corpus, tokenizer=tokenizer, tokens=tokens, absent=absent)


def merge(
    folders: Sequence[str | Path], *, out: str | Path, weights: MergeWeights = "uniform", dtype: str = "float32"
) -> Path:
    """Write the weighted sum of checkpoints of one run, oldest first, to the new folder `out`; return it.

    `weights`: uniform, linear, ema(A), decay-linear, decay-cosine, decay-1-sqrt, or a number a checkpoint; `dtype`:
    float32, bfloat16 or float16. The folder opens with `AutoModelForCausalLM`, tokenizer included.

    Raises:
        ValueError: a folder does not open, they do not fit one another, or `out` is taken.
    """
    return write_merge([Path(folder) for folder in folders], Path(out), weights=weights, dtype=dtype)


def sensitivity(
    checkpoint: str | Path,
    *,
    strength: float,
    scaling: Scaling = "relative",
    corpus: str = "english",
    tokenizer: str | None = None,
    tokens: int = 32_768,
    context: int = 64,
    draws: int = 8,
    seed: int = 0,
) -> Estimate:
    """L(theta + noise) - L(theta) of one checkpoint, nats per token: mean over antithetic draws, 95 % t-interval.

    The same held-out tokens serve every copy. `strength` is gamma, in units of each tensor's rms (`relative`) or
    of the std of its initialisation (`init`, where `pliant.json` knows it).

    Raises:
        ValueError: the checkpoint, the corpus or the tokenizer does not open, or the strength is not a number >= 0.
    """
    noise = Noise(scaling=scaling, strength=strength, draws=draws)
    materials = open_materials(
        MaterialSpec(
            corpus=corpus,
            tokenizer=tokenizer or str(checkpoint),
            context=context,
            held_out_split="test",
            held_out_tokens=tokens,
            task_rows=1,
            tasks=(),
            outside=True,
        )
    )
    opened = open_checkpoint(Path(checkpoint))
    numerics = Numerics()
    forward = choose_forward(opened.model, numerics.forward)

    def loss() -> float:
        return loss_measurement(
            opened.model,
            materials.held_out,
            forward=forward,
            name="test",
            batch_tokens=numerics.evaluation_batch_tokens,
            draw=None,
            sign=None,
        ).value

    base_loss, base = loss(), keep_base(opened.model)
    gaps: dict[int, list[float]] = {}
    for variant in noisy_variants(noise, opened.model, opened.about, base, seed):
        gaps.setdefault(variant.draw or 0, []).append(loss() - base_loss)
    restore(opened.model, base)
    return over_draws([sum(pair) / len(pair) for pair in gaps.values()], seed=opened.about.seed or 0)
