"""Section 2 of Springer et al. (arXiv 2503.19206): checkpoints of public runs, instruction-tuned at each one's rate."""

from dataclasses import dataclass
from functools import partial

from pliant.data.hub_text import HubText
from pliant.data.public_tasks import PUBLIC_TASKS
from pliant.data.task_setting import TaskDataset
from pliant.records.units import parse_tokens
from pliant.studies.evaluation_spec import EvaluationSpec, HarnessSpec
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.spec import ChooseSpec, HeldOutSpec, StudySpec, TrajectorySpec
from pliant.training.loop import Optimisation
from pliant.training.schedules import Schedule

RATES = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4)
BATCH = 64
CONTEXT = 2048
BENCHMARKS = (
    "arc_easy",
    "arc_challenge",
    "piqa",
    "hellaswag",
    "winogrande",
    "boolq",
    "openbookqa",
    "sciq",
    "copa",
    "commonsense_qa",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A public run: its repository, which checkpoints of the range in the paper's Table 1 are taken, and how many rows
    of `CONTEXT` tokens train at once."""

    name: str
    title: str
    repository: str
    choose: ChooseSpec
    chosen: Default
    revisions: str | None = None
    allow_pickle: bool = False
    micro_batch: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """A public set, all `rows` of it, and how long it is trained on: `steps` batches of `BATCH` rows of `CONTEXT`
    tokens, into which examples are packed."""

    name: str
    title: str
    task: str
    rows: int
    steps: int
    defaults: tuple[Default, ...]


def _every(first: str, last: str, every: str) -> ChooseSpec:
    return ChooseSpec(first=parse_tokens(first), to=parse_tokens(last), every=parse_tokens(every))


OLMO_1B = Base(
    name="olmo-1b",
    title="OLMo-1B",
    repository="allenai/OLMo-1B-hf",
    micro_batch=8,
    choose=_every("40B", "3.1T", "250B"),
    chosen=Default(
        setting="checkpoints",
        stands_in="the nearest to each multiple of 250B tokens from 40B to 3.1T",
        reason="the paper gives the range and names 1.5T, 2.3T, 2.5T and 3T, not the rows of its Table 1",
    ),
    notes=("Between steps 117K and 330K (0.49T to 1.38T tokens) the run has no published checkpoints.",),
)
OLMO_2_7B = Base(
    name="olmo-2-7b",
    title="OLMo-2-7B (stage 1)",
    repository="allenai/OLMo-2-1124-7B",
    revisions="stage1-*",
    choose=_every("80B", "3.9T", "500B"),
    chosen=Default(
        setting="checkpoints",
        stands_in="the nearest to each multiple of 500B tokens from 0.08T to 3.9T",
        reason="the paper gives the range and names 3T, not the rows of its Table 1",
    ),
)
AMBER_7B = Base(
    name="amber-7b",
    title="LLM360 Amber-7B",
    repository="LLM360/Amber",
    revisions="ckpt_*",
    allow_pickle=True,
    choose=_every("120B", "1.3T", "150B"),
    chosen=Default(
        setting="checkpoints",
        stands_in="the nearest to each multiple of 150B tokens from 0.12T to 1.3T",
        reason="the paper gives the range only",
    ),
    notes=("Checkpoints without safetensors are read as pickles, of weights alone.",),
)
HH = Instructions(
    name="hh",
    title="Anthropic-HH, chosen responses",
    task="anthropic-hh",
    rows=160_800,
    steps=300,
    defaults=(
        Default(
            setting="length",
            stands_in=f"300 batches of {BATCH} rows of {CONTEXT:,} tokens",
            reason="unknown in the paper; 39M tokens are about an epoch of its 160,800 dialogues",
        ),
    ),
)
TULU = Instructions(
    name="tulu",
    title="TULU",
    task="tulu",
    rows=326_154,
    steps=1000,
    defaults=(
        Default(
            setting="version of TULU",
            stands_in="version 2 (allenai/tulu-v2-sft-mixture)",
            reason="the paper says TULU; version 2 is what OLMo-7B-SFT was tuned on",
        ),
        Default(
            setting="length",
            stands_in=f"1,000 batches of {BATCH} rows of {CONTEXT:,} tokens",
            reason="unknown in the paper; 131M tokens are about an epoch of its 326,154 conversations",
        ),
    ),
)
SHARED = (
    Default(
        setting="learning rates",
        stands_in=f"{len(RATES)} from 1e-6 to 2e-4, tuned for each checkpoint on validation loss",
        reason="the paper tunes the rate of each checkpoint for its best ID score; the grid is unknown",
    ),
    Default(
        setting="ID score",
        stands_in="loss on held-out responses",
        reason="AlpacaEval needs generation and a paid judge; tuned rates may differ from those tuned by it",
    ),
    Default(
        setting="OOD score",
        stands_in=f"{', '.join(BENCHMARKS)}, zero-shot, all items",
        reason="the paper averages ten benchmarks; it names the first four, the others and the shots are recalled",
    ),
    Default(
        setting="optimiser and schedule",
        stands_in=f"full fine-tuning in bf16 mixed precision, AdamW without weight decay, 3 % warm-up, cosine to "
        f"zero, batch {BATCH}",
        reason="unknown in the paper (its App. B.2); the usual choice for instruction tuning",
    ),
    Default(
        setting="pre-training distribution",
        stands_in="held-out C4 (validation) text",
        reason="the runs' own held-out text is not published in one place; C4 is part of Dolma",
    ),
    Default(setting="seeds", stands_in="one fine-tuning seed", reason="unknown in the paper"),
)


def study_of(base: Base, instructions: Instructions) -> StudySpec:
    """The checkpoints of `base`, fine-tuned on `instructions` at every rate."""
    return StudySpec(
        study=f"springer2025-{base.name}-{instructions.name}",
        corpus=HubText(dataset="allenai/c4", name="en", split="validation"),
        held_out=HeldOutSpec(tokens=262_144, task_rows=512, context=CONTEXT),
        trajectories=(
            TrajectorySpec(
                name=base.title,
                checkpoints=base.repository,
                revisions=base.revisions,
                choose=base.choose,
                allow_pickle=base.allow_pickle,
            ),
        ),
        modifications=(ModificationSpec(fine_tune=_tuning(base, instructions)),),
        evaluations=(EvaluationSpec(harness=HarnessSpec(tasks=BENCHMARKS)),),
    )


def _tuning(base: Base, instructions: Instructions) -> FineTuneSpec:
    return FineTuneSpec(
        task=TaskDataset(
            dataset=PUBLIC_TASKS[instructions.task].dataset,
            called=instructions.task,
            like=instructions.task,
            rows=instructions.rows,
        ),
        learning_rates=RATES,
        steps=instructions.steps,
        batch=BATCH,
        schedule=Schedule(kind="cosine", warmup_fraction=0.03),
        optimisation=Optimisation(weight_decay=0.0),
        precision="bfloat16",
        micro_batch=base.micro_batch,
    )


def _recipe(base: Base, instructions: Instructions) -> StudyRecipe:
    return StudyRecipe(
        name=f"springer2025-{base.name}-{instructions.name}",
        title=f"{base.title} tuned on {instructions.title}",
        place=f"Springer et al. 2025, section 2{'' if base is OLMO_1B else ', App. E'}",
        study=partial(study_of, base, instructions),
        defaults=(base.chosen, *instructions.defaults, *SHARED),
        notes=base.notes,
    )


RECIPES = tuple(_recipe(base, tuned) for base in (OLMO_1B, OLMO_2_7B, AMBER_7B) for tuned in (HH, TULU))
