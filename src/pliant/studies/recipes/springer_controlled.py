"""Section 3 of Springer et al. (arXiv 2503.19206): small models pre-trained once a budget, perturbed and fine-tuned.

The figures read one ladder, so their studies have one name and share a folder.
"""

from pliant.checkpoints.architecture import PRESETS
from pliant.data.hub_text import HubText
from pliant.records.units import parse_tokens
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, NoiseSpec
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.spec import HeldOutSpec, LadderSpec, StudySpec, TrajectorySpec
from pliant.training.loop import Optimisation
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule

STUDY = "springer2025-controlled"
BUDGETS = ("4B", "8B", "16B", "32B", "64B", "128B")
SIZES = {"15M": 1e-3, "30M": 1e-3, "90M": 6e-4}
"""The peak learning rate of pre-training by size, the same at every budget."""
WARMUP_STEPS = 1000
BATCH_WINDOWS = 256
TOKENIZER = "allenai/gpt-neox-olmo-dolma-v1_5"
DOCUMENTS = 364_868_892
"""All of C4's training split (the data set's card): 128B tokens are most of it, and each is seen once."""
GAMMAS = (0.05, 0.1, 0.2, 0.4, 0.8)
RATES = tuple(float(f"{4e-6 * 2**k:.4g}") for k in range(9))
TUNED_BATCH = 64
STEPS = {"gsm8k": 60, "starcoder-python": 150, "siqa": 90, "mr": 400, "rte": 120, "trec": 260}
"""Three epochs of each set, about; of Starcoder 10M tokens."""

_PRETRAINING = (
    Default(
        setting="architecture",
        stands_in="OLMo-2 style, 8 layers of 8 heads, widths 128, 256 and 528, SwiGLU, untied, context 1,024, std 0.02",
        reason="unknown in the paper; the same lab's later code has this shape at width 256",
    ),
    Default(
        setting="tokenizer",
        stands_in=f"{TOKENIZER} (50,280 tokens)",
        reason="unknown in the paper; that of the OLMo code it used",
    ),
    Default(
        setting="budgets",
        stands_in=", ".join(BUDGETS),
        reason="the paper says 4B to 128B tokens; powers of two are most likely",
    ),
    Default(
        setting="pre-training rate",
        stands_in="; ".join(f"{size} {rate:g}" for size, rate in SIZES.items()) + ", at every budget",
        reason="unknown in the paper; the same lab's later code lowers it with budget, which would confound the axis",
    ),
    Default(
        setting="pre-training batch, warm-up and precision",
        stands_in=f"{BATCH_WINDOWS} windows of 1,024 tokens, {WARMUP_STEPS:,} steps, bf16 mixed precision",
        reason="unknown in the paper; the same lab's later code",
    ),
    Default(setting="seeds", stands_in="one run a budget", reason="unknown in the paper; add seeds for intervals"),
)
_NOISE = (
    Default(
        setting="gamma",
        stands_in=", ".join(f"{gamma:g}" for gamma in GAMMAS),
        reason="unknown in the paper; spaced by two, to where the smallest budget's perplexity should have doubled",
    ),
    Default(setting="draws", stands_in="8 antithetic pairs", reason="unknown in the paper"),
)
_TUNING = (
    Default(
        setting="learning rates",
        stands_in=f"{len(RATES)} from 4e-6 to {RATES[-1]:.3g}, a factor of two apart",
        reason="the paper begins at 4e-6 and ends at a rate of each set that is unknown; --extend-grids goes on",
    ),
    Default(
        setting="fine-tuning length",
        stands_in=f"batch {TUNED_BATCH}; steps " + ", ".join(f"{task} {steps}" for task, steps in STEPS.items()),
        reason="unknown in the paper; about three epochs of each set, 10M tokens of Starcoder as in the later code",
    ),
    Default(
        setting="fine-tuning schedule",
        stands_in="AdamW without weight decay, 10 % warm-up, cosine to zero, bf16 mixed precision",
        reason="unknown in the paper; it says only that all but the rate is fixed",
    ),
    Default(
        setting="prompts",
        stands_in="pliant's own for each set",
        reason="unknown in the paper; the loss is on answers alone",
    ),
    Default(setting="fine-tuning seeds", stands_in="one", reason="unknown in the paper"),
)


def noise_study() -> StudySpec:
    """Figure 3: Gaussian noise of fixed gamma."""
    return _study((ModificationSpec(noise=NoiseSpec(strengths=GAMMAS)),))


def fine_tuning_study() -> StudySpec:
    """Figures 4 to 6: each set at every rate; figures 4 and 5 read fixed rates, figure 6 the tuned one."""
    return _study(tuple(ModificationSpec(fine_tune=_tuning(task, steps)) for task, steps in STEPS.items()))


def _study(modifications: tuple[ModificationSpec, ...]) -> StudySpec:
    return StudySpec(
        study=STUDY,
        corpus=HubText(dataset="allenai/c4", name="en", split="train", documents=DOCUMENTS),
        tokenizer=TOKENIZER,
        held_out=HeldOutSpec(tokens=262_144, task_rows=512),
        trajectories=tuple(_ladder(size, rate) for size, rate in SIZES.items()),
        modifications=modifications,
    )


def _ladder(size: str, rate: float) -> TrajectorySpec:
    recipe = Recipe(
        learning_rate=rate,
        batch_windows=BATCH_WINDOWS,
        schedule=Schedule(kind="cosine", warmup_steps=WARMUP_STEPS),
        optimisation=Optimisation(weight_decay=0.1),
        precision="bfloat16",
        micro_batch=32,
    )
    ladder = LadderSpec(
        architecture=PRESETS[size], recipe=recipe, budgets=tuple(parse_tokens(budget) for budget in BUDGETS)
    )
    return TrajectorySpec(name=size, ladder=ladder)


def _tuning(task: str, steps: int) -> FineTuneSpec:
    return FineTuneSpec(
        task=task, learning_rates=RATES, steps=steps, batch=TUNED_BATCH, micro_batch=32, precision="bfloat16"
    )


NOISE = StudyRecipe(
    name="springer2025-fig3",
    title="15M, 30M, 90M from 4B to 128B tokens of C4: Gaussian noise of fixed gamma",
    place="Springer et al. 2025, section 3.3, figure 3",
    study=noise_study,
    defaults=(*_PRETRAINING, *_NOISE),
)
FIXED = StudyRecipe(
    name="springer2025-fig4",
    title="the same models fine-tuned on six sets at fixed rates",
    place="Springer et al. 2025, section 3.4.1, figures 4 and 5",
    study=fine_tuning_study,
    defaults=(*_PRETRAINING, *_TUNING),
)
TUNED = StudyRecipe(
    name="springer2025-fig6",
    title="the same models fine-tuned on six sets at the tuned rate",
    place="Springer et al. 2025, section 3.4.2, figure 6",
    study=fine_tuning_study,
    defaults=(*_PRETRAINING, *_TUNING),
    notes=("Reads the cells of springer2025-fig4: after it in the same folder nothing is measured again.",),
)
RECIPES = (NOISE, FIXED, TUNED)
