"""The cheap part of the audit, which every study on checkpoints from outside passes before it measures them."""

from collections.abc import Sequence

from pliant.checkpoints.audit.audit import REFUSED, suspects
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.metadata import audit_metadata
from pliant.checkpoints.trajectory import Member
from pliant.studies.spec import SpecError


def suspicions(members: Sequence[Member]) -> tuple[Finding, ...]:
    """Why a study must not run on `members`: of Hub revisions by their metadata, on disk by their weights."""
    on_disk = [member for member in members if member.revision is None]
    published = [(m.name, m.about, m.revision) for m in members if m.revision is not None]
    found = suspects(on_disk) if on_disk else ()
    if published:
        listed = audit_metadata(published).findings
        found = (*found, *(one for one in listed if one.level == "error" and one.check in REFUSED))
    return found


def refuse_suspects(name: str, members: Sequence[Member]) -> None:
    """Stop where the audit finds equal weights, weights out of order or weights that are not whole.

    Raises:
        SpecError: it does; the first finding and how many more there are.
    """
    found = suspicions(members)
    if found:
        more = f" (and {len(found) - 1} more; `pliant audit` shows them)" if len(found) > 1 else ""
        raise SpecError(
            f"{name}: {found[0].sentence.rstrip('.')}{more}; leave those checkpoints out, or measure all the same with "
            "--allow-suspect"
        )
