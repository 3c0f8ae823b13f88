"""An expectation written down before the runs, and what was observed."""

from dataclasses import dataclass
from typing import Literal

Agreement = Literal["agrees", "disagrees", "cannot tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationResult:
    """One registered sign of one study against its own records."""

    text: str
    study: str
    observed: str
    agrees: Agreement
    evidence: str
