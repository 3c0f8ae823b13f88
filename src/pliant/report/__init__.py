"""What a study says, in a terminal and as one HTML file. Reads tables; never a model."""

from pliant.records.expectation import ExpectationResult
from pliant.report.html import write_report
from pliant.report.summary import Summary, summarise
from pliant.report.terminal import show

__all__ = ["ExpectationResult", "Summary", "show", "summarise", "write_report"]
