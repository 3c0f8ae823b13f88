"""`results.parquet`: the table for pandas, polars, DuckDB or R."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pliant.execution.table import Table
from pliant.execution.writing import insisting
from pliant.records.floats import Floats
from pliant.records.parts import part_name
from pliant.records.rows import Found, Row, Rows

AT_ONCE = 1 << 14
"""Rows in memory in Parquet's form at once."""


def write_parquet(table: Table, path: Path) -> Path:
    """Write the table as Parquet, a column for each name of a row, and return `path`.

    The type of a column is what pyarrow makes of all its values, though it sees `AT_ONCE` rows at a time.
    """
    import pyarrow
    import pyarrow.parquet

    examples = _examples(table.rows)
    kinds = {
        name: pyarrow.array([_plain(value) for value in examples[name].values()]).type for name in sorted(examples)
    }
    schema = pyarrow.schema(list(kinds.items()))
    temporary = path.with_name(part_name(path.suffix))
    try:
        _write(table.rows, temporary, schema)
        insisting(lambda: temporary.replace(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _write(table_rows: Sequence[Row], path: Path, schema: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        rows = iter(table_rows)
        while some := list(islice(rows, AT_ONCE)):
            columns = {name: _column(some, name, schema.field(name).type) for name in schema.names}
            writer.write_table(pyarrow.table(columns, schema=schema))


def _column(rows: Sequence[Row], name: str, kind: Any) -> Any:
    """The values of one column; blocks without a Python object for each of them."""
    import numpy
    import pyarrow

    values: list[Any] = [row.get(name) for row in rows]
    if not (pyarrow.types.is_list(kind) and pyarrow.types.is_floating(kind.value_type)) or any(
        v is None for v in values
    ):
        return pyarrow.array([_plain(value) for value in values], type=kind)
    lengths = [len(value) for value in values]
    ends = numpy.cumsum([0, *lengths], dtype=numpy.int32)
    flat = numpy.fromiter(chain.from_iterable(values), dtype=numpy.float64, count=int(ends[-1]))
    return pyarrow.ListArray.from_arrays(ends, flat, type=kind)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (tuple, Floats)) else value


def _examples(rows: Sequence[Row]) -> dict[str, dict[object, object]]:
    """A value of each kind that the column of each name holds."""
    examples: dict[str, dict[object, object]] = {}
    for mapping in _mappings(rows):
        for name, value in mapping.items():
            examples.setdefault(name, {}).setdefault(_kind(value), value)
    return examples


def _mappings(rows: Sequence[Row]) -> Iterator[Mapping[str, Any]]:
    """What the rows are joined from; parts that are shared come once."""
    if not isinstance(rows, Rows):
        yield from rows
        return
    seen: set[int] = set()
    for record in rows.records:
        for part in record.shared:
            if id(part) not in seen:
                seen.add(id(part))
                yield part
        yield from _own(record)


def _own(record: Found) -> Iterator[Mapping[str, Any]]:
    yield record.own()
    for values in record.values:
        yield dict(zip(record.names, values, strict=True))


def _kind(value: object) -> object:
    if isinstance(value, (tuple, Floats)):
        return type(value), type(value[0]) if len(value) else None
    return type(value)
