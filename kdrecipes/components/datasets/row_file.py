"""The rows of a CSV, TSV, JSON-lines or Parquet file, with the place of each, and what is wrong with its form."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.extras import telling_what_is_missing
from kdrecipes.wording import escaped, nearest

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")


@dataclass
class Rows:
    """What a file holds.

    Attributes:
        columns: their names, in the file's order.
        places: of each row, such as "line 3".
        values: of each row, in the order of `columns`: text, a number, a truth value, None, or what else JSON has.
        problems: rows that are none, a line of text each.
    """

    columns: list[str]
    places: list[str] = field(default_factory=list)
    values: list[list[Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """The values of a column, one for each row."""
        place = self.columns.index(name)
        return [row[place] for row in self.values]


def read_rows(file: Path) -> Rows:
    """Read a file whose suffix says what it is.

    Raises:
        EnvironmentProblem: for a file that is not there or can't be opened, and Parquet without pyarrow.
        RunError: for another suffix, another encoding than UTF-8, no row of names, or a name that stands twice.
    """
    suffix = file.suffix.lower()
    if suffix not in TEXT + PARQUET:
        near = nearest(suffix, TEXT + PARQUET) or (".jsonl" if suffix == ".json" else "")
        meant = f" Did you mean {near}?" if near else ""
        raise RunError(f"{_name(file)}: a list of files ends in {', '.join(TEXT + PARQUET)}.{meant}")
    if not file.is_file():
        raise EnvironmentProblem(f"{_name(file)}: there is no such file")
    try:
        rows = _read_parquet(file) if suffix in PARQUET else _read_text(file, suffix)
    except OSError as error:
        raise EnvironmentProblem(f"{_name(file)} can't be read: {error.strerror or error}") from error
    if twice := sorted({name for name in rows.columns if name and rows.columns.count(name) > 1}):
        raise RunError(f"{_name(file)}: two columns have one name: {', '.join(twice)}")
    return rows


def _name(file: Path) -> str:
    return escaped(str(file))


def _read_text(file: Path, suffix: str) -> Rows:
    text = _decoded(file)
    return _read_csv(file, text, suffix) if suffix in (".csv", ".tsv") else _read_json_lines(text)


def _decoded(file: Path) -> str:
    """The text of a file in UTF-8, with or without a mark of the byte order."""
    data = file.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:4]:
        raise RunError(f"{_name(file)}: this is UTF-16, and a list of files must be UTF-8. Save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        shown = data[start : start + 80].splitlines()[0].decode("cp1252", "replace")
        raise RunError(
            f"{_name(file)}: line {line} is not UTF-8: byte 0x{data[error.start]:02x}. As Windows-1252 it reads "
            f"{shown!r}. Save the file as UTF-8; in Excel that is “CSV UTF-8”"
        ) from None


def _read_csv(file: Path, text: str, suffix: str) -> Rows:
    first = next((line for line in text.splitlines() if line.strip()), "")
    # People whose decimals have commas are given semicolons by their spreadsheet.
    delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: Rows | None = None
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if rows is None:
                rows = Rows([name.strip() for name in row])
            elif len(row) != len(rows.columns):
                few = "few" if len(row) < len(rows.columns) else "many"
                rows.problems.append(
                    f"line {reader.line_num}: too {few} columns: {len(row)}, and the first line names "
                    f"{len(rows.columns)}: {delimiter.join(rows.columns)}"
                )
            else:
                rows.places.append(f"line {reader.line_num}")
                rows.values.append([value.strip() for value in row])
    except csv.Error as error:
        rows = rows or Rows([])
        rows.problems.append(f"line {reader.line_num}: {error}")
    if rows is None:
        raise RunError(f"{_name(file)}: the file is empty; its first line names the columns, such as path,label")
    return rows


def _read_json_lines(text: str) -> Rows:
    problems: list[str] = []
    found: list[tuple[int, dict[str, Any]]] = []
    for number, row in _json_rows(text):
        if isinstance(row, dict):
            found.append((number, row))
        else:
            problems.append(f"line {number}: {row if isinstance(row, str) else 'no object'}")
    columns = list(dict.fromkeys(name for _, row in found for name in row))
    values = [[row.get(name) for name in columns] for _, row in found]
    return Rows(columns, [f"line {number}" for number, _ in found], values, problems)


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    """Number and content of each line that is not empty; of one that is no JSON a text that says why."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                yield number, row if isinstance(row, dict) else None
            except (ValueError, RecursionError) as error:
                yield number, f"no JSON: {error}"


def _read_parquet(file: Path) -> Rows:
    with telling_what_is_missing(f"dataset.path = {str(file)!r}"):
        import pyarrow
        from pyarrow import parquet
    try:
        opened = parquet.ParquetFile(file)
        # An image in a column of bytes is no path, and would be read for nothing.
        plain = [
            one.name
            for one in opened.schema_arrow
            if not pyarrow.types.is_nested(one.type)
            and not pyarrow.types.is_large_binary(one.type)
            and not pyarrow.types.is_binary(one.type)
        ]
        columns = [column.to_pylist() for column in opened.read(columns=plain).columns]
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{_name(file)}: no Parquet file that can be read: {error}") from error
    values = [list(row) for row in zip(*columns, strict=True)]
    return Rows(plain, [f"row {number}" for number in range(1, len(values) + 1)], values)
