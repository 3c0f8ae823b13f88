"""The members of a ladder: where each lies, and which segments of training make it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pliant.records.identity import Json, digest, identity
from pliant.records.numerics import Numerics
from pliant.studies.spec import LadderSpec
from pliant.training.pretraining import Segment
from pliant.training.state import OPTIMIZER_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderMember:
    """One checkpoint of a ladder: the state after `step` updates, of the trunk or of an annealed run."""

    seed: int
    step: int
    tokens: int
    annealed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSegment:
    """A segment to train: where its start lies (None: initialisation) and where its end goes."""

    seed: int
    segment: Segment
    begin_from: Path | None
    out: Path
    keep_optimizer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """A ladder of a study: its specification, the fingerprint of its data, and the folder of its weights."""

    spec: LadderSpec
    vocabulary_size: int
    tokenizer: str
    data: str
    numerics: Numerics
    artifacts: Path
    name: str

    @property
    def recipe(self) -> dict[str, Json]:
        """What makes a member what it is, its data, seed and tokens apart."""
        return {
            "architecture": identity(self.spec.architecture),
            "vocabulary_size": self.vocabulary_size,
            "recipe": identity(self.spec.recipe),
            "tokenizer": self.tokenizer,
            "numerics": identity(replace(self.numerics, evaluation=None)),  # of no effect on training
        }

    @property
    def tokens_per_step(self) -> int:
        return self.spec.recipe.batch_windows * self.spec.architecture.context

    def folder(self, seed: int) -> Path:
        return self.artifacts / f"{self.name}-{digest([self.recipe, self.data], 8)}" / f"seed-{seed}"

    def members(self) -> Iterator[LadderMember]:
        """All members: by seed, then by budget, annealed before trunk."""
        for seed in self.spec.seeds:
            for budget in self.spec.budgets:
                step = self.spec.recipe.steps(budget, self.spec.architecture.context)
                for kind in self.spec.members:
                    annealed = kind == "annealed" and self.spec.recipe.schedule.kind != "constant"
                    yield LadderMember(seed=seed, step=step, tokens=step * self.tokens_per_step, annealed=annealed)

    def learning_rate(self, member: LadderMember) -> float:
        """The rate of the member's last update."""
        total = member.step if member.annealed else None
        return self.spec.recipe.schedule.learning_rate(self.spec.recipe.learning_rate, member.step - 1, total)

    def place(self, member: LadderMember) -> Path:
        """The folder of the member's weights."""
        if member.annealed:
            return self.folder(member.seed) / f"tokens-{member.tokens}"
        return self._trunk(member.seed, member.step)

    def _trunk(self, seed: int, step: int) -> Path:
        return self.folder(seed) / f"trunk-tokens-{step * self.tokens_per_step}"

    def segments(
        self, needed: Iterable[LadderMember], holds: Callable[[Path], bool] = Path.exists
    ) -> list[PlannedSegment]:
        """The segments that make the `needed` members, in an order in which each start exists.

        `holds` says whether a file or folder is there, or at the remote, from where it is fetched when needed.
        """
        planned: dict[Path, PlannedSegment] = {}
        for member in sorted(needed, key=lambda m: (m.seed, m.step, m.annealed)):
            if holds(self.place(member)):
                continue
            if not member.annealed:
                self._plan_trunk(member.seed, member.step, planned, holds)
                continue
            branch = self.spec.recipe.schedule.shared_until(member.step)
            begin = self._plan_trunk(member.seed, branch, planned, holds) if branch else None
            segment = Segment(start=branch, stop=member.step, total=member.step)
            out = self.place(member)
            planned[out] = PlannedSegment(
                seed=member.seed, segment=segment, begin_from=begin, out=out, keep_optimizer=False
            )
        return list(planned.values())

    def _plan_trunk(
        self, seed: int, step: int, planned: dict[Path, PlannedSegment], holds: Callable[[Path], bool]
    ) -> Path:
        """Plan the trunk up to `step`, from the last whole trunk state before it."""
        out = self._trunk(seed, step)
        if out in planned or holds(out / OPTIMIZER_FILE):
            return out
        before = max((s for s in self._trunk_stops() if s < step), default=0)
        begin = self._plan_trunk(seed, before, planned, holds) if before else None
        segment = Segment(start=before, stop=step, total=None)
        planned[out] = PlannedSegment(seed=seed, segment=segment, begin_from=begin, out=out, keep_optimizer=True)
        return out

    def _trunk_stops(self) -> list[int]:
        """The steps at which the trunk is kept: branch points of all budgets, and trunk members."""
        schedule = self.spec.recipe.schedule
        stops = set()
        for budget in self.spec.budgets:
            total = self.spec.recipe.steps(budget, self.spec.architecture.context)
            stops.add(schedule.shared_until(total))
            if "trunk" in self.spec.members:
                stops.add(total)
        return sorted(stop for stop in stops if stop)
