"""The sweep against Trainer: both make one table, and tables that differ are told."""

import pytest

from pliant.benchmarks.rows import BENCHMARKS
from pliant.benchmarks.sweep import AGREE, apart


def test_tables_are_compared_run_by_run() -> None:
    table = {(0.1, 1): (2.0, 3.0), (0.2, 1): (2.5, 3.5)}
    assert apart(table, table | {(0.2, 1): (2.5, 3.5 + AGREE / 2)}) == pytest.approx(AGREE / 2)
    with pytest.raises(AssertionError, match="these are two different things"):
        apart(table, table | {(0.1, 1): (2.0, 3.0 + 2 * AGREE)})
    with pytest.raises(AssertionError, match="the tables are of different runs"):
        apart(table, {(0.1, 1): (2.0, 3.0)})


@pytest.mark.slow
def test_the_row_is_measured() -> None:
    row = BENCHMARKS["sweep"].measure("smoke", lambda line: None)
    assert [figure.target for figure in row.figures] == [2.2, 6.0]
    assert all(seconds > 0 for times in row.measured.values() for seconds in times)
