"""Checkpoints as a plan sees them: what makes them what they are, and what is known of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.frame import settings_of
from pliant.checkpoints.hub.revision import HubRevision
from pliant.checkpoints.trajectory import Member
from pliant.checkpoints.weights import stored_fingerprint
from pliant.data.corpora import CorpusName
from pliant.execution.labels import Labels
from pliant.modifications.merge import Part, Parts
from pliant.records.identity import Json, digest
from pliant.records.units import format_tokens
from pliant.studies.ladder import Ladder
from pliant.studies.materials import Materials, MaterialSpec
from pliant.studies.members import Members, described, parameters_of
from pliant.studies.spec import SpecError, StudySpec, TrajectorySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A checkpoint as the plan sees it: identity for the cells, labels for the rows.

    `parts` is where its weights come from: its own folder, or those that are merged. `ladder` makes them, where pliant
    trains it. `about` holds what is known of a checkpoint from outside, `revision` where on the Hub it is.
    """

    name: str
    parts: Parts
    identity: dict[str, Json]
    labels: Labels
    parameters: int
    about: About | None = None
    revision: HubRevision | None = None
    ladder: Ladder | None = None

    @property
    def line(self) -> tuple[Json, ...]:
        """What neighbours on one curve share: the pre-training seed, and annealed or not where those are two curves."""
        line = self.labels.get("line")
        return self.labels["pretraining_seed"], self.labels["annealed"] if line is None else line


def plain(folder: Path) -> Parts:
    """The weights of one folder as they are."""
    return (Part(folder=folder, weight=1.0),)


def check_places(subjects: Sequence[Subject], name: str) -> None:
    """A point of a curve is one checkpoint: its line and its tokens."""
    seen: dict[tuple[Json, ...], str] = {}
    for subject in subjects:
        place = (subject.labels["tokens"], *subject.line)
        if subject.labels["tokens"] is not None and place in seen:
            raise SpecError(
                f"{name}: {seen[place]} and {subject.name} both have {subject.labels['tokens']:,} tokens and seed "
                f"{place[1]}; give them other tokens or seeds, put them into different trajectories, or narrow "
                "revisions (stage1*)"
            )
        seen[place] = subject.name


def ladder_subjects(
    spec: StudySpec, trajectory_spec: TrajectorySpec, wanted: MaterialSpec, materials: Materials, folder: Path
) -> Iterator[Subject]:
    assert trajectory_spec.ladder is not None
    ladder = Ladder(
        spec=trajectory_spec.ladder,
        vocabulary_size=materials.tokenizer.vocabulary_size,
        tokenizer=materials.tokenizer.fingerprint,
        data=materials.training.source(0).fingerprint,
        numerics=spec.numerics,
        artifacts=folder / "artifacts",
        name="".join(c if c.isalnum() or c in "._" else "-" for c in trajectory_spec.name),
    )
    _check_corpus(ladder, materials, wanted.corpus)
    parameters = trajectory_spec.ladder.architecture.parameters(ladder.vocabulary_size)
    for member in ladder.members():
        source = materials.training.source(member.seed)
        windows = member.step * ladder.spec.recipe.batch_windows
        yield Subject(
            name=f"{format_tokens(member.tokens)} {'' if member.annealed else 'trunk '}seed {member.seed}",
            parts=plain(ladder.place(member)),
            identity={
                "kind": "ladder",
                **ladder.recipe,
                "data": source.fingerprint,
                "seed": member.seed,
                "tokens": member.tokens,
                "annealed": member.annealed,
            },
            labels={
                "checkpoint": format_tokens(member.tokens) + ("" if member.annealed else " trunk"),
                "tokens": member.tokens,
                "parameters": parameters,
                "tokens_per_parameter": member.tokens / parameters,
                "pretraining_seed": member.seed,
                "annealed": member.annealed,
                "pretraining_learning_rate": ladder.learning_rate(member),
                "epochs": windows / source.windows_per_epoch if source.windows_per_epoch else 0.0,
                "bytes_per_token": materials.bytes_per_token,
            },
            parameters=parameters,
            ladder=ladder,
        )


def _check_corpus(ladder: Ladder, materials: Materials, corpus: CorpusName) -> None:
    per_epoch = materials.training.source(0).windows_per_epoch
    if per_epoch is None:
        return
    available = per_epoch * ladder.spec.architecture.context
    largest = max(member.tokens for member in ladder.members())
    if largest > ladder.spec.max_epochs * available:
        epochs = f"{largest / available:.2f} epochs" if available else "more than all"
        raise SpecError(
            f"{ladder.name}: a budget of {format_tokens(largest)} tokens is {epochs} of "
            f"{corpus} ({available:,} training tokens); lower budgets, give more text, or set max_epochs"
        )


def outside_subject(member: Member, members: Members, materials: Materials, *, allow_suspect: bool) -> Subject:
    """A checkpoint from outside; one on disk that cannot be read is planned, to fail alone, only if that is allowed.

    Raises:
        CheckpointError: its files are damaged.
    """
    about = member.about
    try:
        parameters, weights = parameters_of(member, members), _content(member)
    except CheckpointError as error:
        if not allow_suspect:
            raise
        parameters, weights = 0, {"kind": "unreadable", "error": str(error)}
    return Subject(
        name=member.name,
        parts=plain(member.folder),
        identity={**weights, "tokenizer": materials.tokenizer.fingerprint},
        labels={
            "checkpoint": member.name,
            "tokens": about.tokens,
            "parameters": parameters,
            "tokens_per_parameter": about.tokens / parameters if about.tokens and parameters else None,
            "pretraining_seed": about.seed,
            "annealed": about.annealed,
            "line": _line(member, members),
            "pretraining_learning_rate": about.learning_rate,
            "epochs": about.epochs,
            "bytes_per_token": materials.bytes_per_token,
            "source": str(member.folder) if member.revision is None else member.revision.name,
            "commit": None if member.revision is None else member.revision.commit,
        },
        parameters=parameters,
        about=about,
        revision=member.revision,
    )


def _content(member: Member) -> dict[str, Json]:
    """What names the model: the content of its weights, on disk or as the Hub publishes it, and its config."""
    settings = digest(list(settings_of(described(member))))
    if member.revision is not None:
        return {"kind": "files", "weights": member.revision.fingerprint, "settings": settings}
    return {"kind": "weights", "weights": stored_fingerprint(member.folder), "settings": settings}


def _line(member: Member, members: Members) -> str | None:
    """One run that decays is one line, its decayed end included: "". None leaves it to `annealed`, which tells the
    trunk and the annealed members of a ladder that pliant trained apart, and whatever else is both at the same tokens.
    """
    places: dict[bool | None, set[int | None]] = {}
    for other in members.members:
        places.setdefault(other.about.annealed, set()).add(other.about.tokens)
    both = places.get(True, set()) & places.get(False, set())
    return None if member.about.recipe is not None or both or len(places) == 1 else ""
