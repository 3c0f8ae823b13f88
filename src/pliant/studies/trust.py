"""What a study file may not decide by itself: whether code and pickles of others run on this machine."""

from collections.abc import Iterator

from pliant.studies.evaluation_spec import HarnessSpec
from pliant.studies.spec import SpecError, StudySpec

PICKLE, CODE = "--allow-pickle", "--trust-remote-code"


def check_trust(spec: StudySpec, place: str, *, allow_pickle: bool, trust_remote_code: bool) -> None:
    """`spec` was read from `place`; only who runs it can allow what it asks for.

    Raises:
        SpecError: it asks for pickles or code and they are not allowed, or they are and it does not.
    """
    for option, allowed, asking, risk in (
        (PICKLE, allow_pickle, list(_pickles(spec)), "opens pickled weights, which can run code"),
        (CODE, trust_remote_code, list(_code(spec)), "runs code that comes with it"),
    ):
        if asking and not allowed:
            raise SpecError(f"{place} {risk} ({asking[0]}); if you trust where study and data come from, add {option}")
        if allowed and not asking:
            raise SpecError(f"{option} has no effect on {place}, which asks for nothing of the kind; leave it out")


def _pickles(spec: StudySpec) -> Iterator[str]:
    yield from (f"allow_pickle of {entry.name}" for entry in spec.trajectories if entry.allow_pickle)


def _code(spec: StudySpec) -> Iterator[str]:
    yield from (f"trust_remote_code of {entry.name}" for entry in spec.trajectories if entry.trust_remote_code)
    for entry in spec.evaluations:
        if isinstance(entry.one, HarnessSpec) and entry.one.include_path is not None:
            yield f"benchmarks of {entry.one.include_path}"
