"""What a study may say of further evaluations: benchmarks, multiple choice, divergence, drift, and on what."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pliant.evaluation.benchmarks import task_name
from pliant.studies.sections import Section, TokenCount, different

NOISE = "noise"
_Count = Annotated[int, Field(ge=1)]


class HarnessSpec(Section):
    """Benchmarks of lm-eval by its names or the usual ones ("arc-easy"), and tasks of a folder of its YAML.

    Such a folder is code: its YAML names Python functions, and its templates can reach them.
    """

    tasks: Annotated[
        tuple[Annotated[str, AfterValidator(task_name)], ...], Field(min_length=1), AfterValidator(different)
    ]
    limit: _Count | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    include_path: Path | None = None


class ChoicesSpec(Section):
    """Multiple choice from a JSONL file; `limit` takes its first items only."""

    file: Path
    limit: _Count | None = None


class DivergenceSpec(Section):
    """KL(base || modified) on the first `tokens` tokens of the held-out text."""

    tokens: TokenCount = 2048


class DriftSpec(Section):
    """Mean principal angle between `components` directions of hidden states on the first `tokens` held-out tokens."""

    tokens: TokenCount = 2048
    components: _Count = 8


EvaluationSettings = HarnessSpec | ChoicesSpec | DivergenceSpec | DriftSpec


class EvaluationSpec(Section):
    """One of the evaluations, and the kinds of modification that it is made on: by default all but noise, whose many
    copies make it dear."""

    harness: HarnessSpec | None = None
    choices: ChoicesSpec | None = None
    divergence: DivergenceSpec | None = None
    drift: DriftSpec | None = None
    on: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(different)] | None = None

    @property
    def one(self) -> EvaluationSettings:
        """The one that is given."""
        (given,) = self._given()
        return given

    def applies_to(self, modification: str) -> bool:
        """Whether cells of this kind of modification ("none", "fine-tune", ...) are evaluated."""
        if self.on is None:
            return modification != NOISE
        return modification in {name.replace("_", "-") for name in self.on}

    def anchored(self, anchor: Callable[[Path], Path]) -> "EvaluationSpec":
        """The same with its relative paths taken from elsewhere."""
        if self.harness is not None and self.harness.include_path is not None:
            path = anchor(self.harness.include_path)
            return self.model_copy(update={"harness": self.harness.model_copy(update={"include_path": path})})
        if self.choices is not None:
            path = anchor(self.choices.file)
            return self.model_copy(update={"choices": self.choices.model_copy(update={"file": path})})
        return self

    def _given(self) -> list[EvaluationSettings]:
        return [e for e in (self.harness, self.choices, self.divergence, self.drift) if e is not None]

    @model_validator(mode="after")
    def _one(self) -> "EvaluationSpec":
        if len(self._given()) != 1:
            raise ValueError("each entry of evaluations is one of harness, choices, divergence, drift")
        return self


SECTIONS = (EvaluationSpec, HarnessSpec, ChoicesSpec, DivergenceSpec, DriftSpec)
