"""`results.parquet`: the table for pandas, polars, DuckDB or R."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.execution.float_lists import float_lists
from pliant.execution.table import Table
from pliant.execution.writing import insisting
from pliant.records.floats import Floats
from pliant.records.parts import part_name
from pliant.records.rows import Found, Rows

AT_ONCE = 1 << 14
"""Rows in memory in Parquet's form at once."""


def write_parquet(table: Table, path: Path) -> Path:
    """Write the table as Parquet, a column for each name of a row, and return `path`.

    The type of a column is what pyarrow makes of all its values, though it sees `AT_ONCE` rows at a time.
    """
    import pyarrow
    import pyarrow.parquet

    assert isinstance(table.rows, Rows), "the table of a study folder"
    records = table.rows.records
    examples = _examples(records)
    kinds = {
        name: pyarrow.array([_plain(value) for value in examples[name].values()]).type for name in sorted(examples)
    }
    schema = pyarrow.schema(list(kinds.items()))
    temporary = path.with_name(part_name(path.suffix))
    try:
        _write(records, temporary, schema)
        insisting(lambda: temporary.replace(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _write(records: Iterable[Found], path: Path, schema: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for some in _lots(records):
            columns = {name: _column(some.of(name), schema.field(name).type) for name in schema.names}
            writer.write_table(pyarrow.table(columns, schema=schema))


@dataclass(frozen=True, slots=True)
class _Lot:
    """Some records; the values of one name are taken from their rows without making these."""

    records: Sequence[Found]
    common: Sequence[Mapping[str, Any]]

    def of(self, name: str) -> list[Any]:
        found: list[Any] = []
        for record, common in zip(self.records, self.common, strict=True):
            if name in record.names:
                found += record.column(name)
            else:
                found += [common.get(name)] * len(record.values)
        return found


def _lots(records: Iterable[Found]) -> Iterator[_Lot]:
    """The records, about `AT_ONCE` rows at a time."""
    some: list[Found] = []
    length = 0
    for record in records:
        some.append(record)
        length += len(record.values)
        if length >= AT_ONCE:
            yield _Lot(some, [one.common() for one in some])
            some, length = [], 0
    if some:
        yield _Lot(some, [one.common() for one in some])


def _column(values: list[Any], kind: Any) -> Any:
    """The values of one column."""
    import pyarrow

    if not pyarrow.types.is_list(kind):
        return pyarrow.array(values, type=kind)
    if not pyarrow.types.is_floating(kind.value_type) or any(value is None for value in values):
        return pyarrow.array([_plain(value) for value in values], type=kind)
    return float_lists(values, kind)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (tuple, Floats)) else value


def _examples(records: Iterable[Found]) -> dict[str, dict[object, object]]:
    """A value of each kind that the column of each name holds."""
    examples: dict[str, dict[object, object]] = {}

    def see(name: str, values: Iterable[object]) -> None:
        known = examples.setdefault(name, {})
        for value in values:
            kind: object = type(value)
            if kind is tuple or kind is Floats:
                kind = _kind(value)
            if kind not in known:
                known[kind] = value

    seen: set[int] = set()
    for record in records:
        for part in record.shared:
            if id(part) not in seen:
                seen.add(id(part))
                for name, value in part.items():
                    see(name, (value,))
        for name, value in record.own().items():
            see(name, (value,))
        for name, column in zip(record.names, zip(*record.values, strict=True), strict=True):
            see(name, column)
    return examples


def _kind(row: Any) -> object:
    """What pyarrow must know of a row of numbers: that it has some, and of which type."""
    return type(row), type(row[0]) if len(row) else None
