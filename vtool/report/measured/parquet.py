"""The data of runs as Apache Parquet: the rows of ``data``. Apart from it, so that a page is made without PyArrow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from vtool.report.measured.data import COLUMNS, rows
from vtool.results.run_folder import RunRead

_AT_ONCE = 8192


def write_parquet(runs: Sequence[RunRead], path: Path) -> None:
    """Write Apache Parquet, compressed by zstd; text is by dictionary."""
    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([pa.field(name, types[kind]) for name, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        found = rows(runs)
        while batch := list(itertools.islice(found, _AT_ONCE)):
            columns = zip(*batch, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            file.write_batch(pa.record_batch(arrays, schema=schema))
