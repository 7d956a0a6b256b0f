"""Removal lists as files: text, CSV, TSV, JSON lines and Parquet, by their names; all but Parquet may be compressed.

A text list has one entry a line. The others are tables, and may be cut out of a URL list: entries are what stands in
the columns `COLUMNS`, in whatever case, and the other columns make no difference. The blanks of an address that has a
cell of its own are known to be part of it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import UserError

COLUMNS: Final = ("url", "image_url", "sha256", "md5")
"""What an entry may stand under."""
_PARQUET: Final = (".parquet", ".pq")
_CSV: Final = (".csv", ".tsv", ".tab")
_JSON: Final = (".jsonl", ".ndjson")
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_DELIMITERS: Final = ",;\t|"
_BEGUN: Final = ("url", "sha256", "md5")
"""The columns of a new table."""
_SHOWN: Final = 80
"""Characters of a line that a message repeats."""
_END: Final = "\x01the end"
"""A last line of its own, which only an open quotation mark can swallow."""
_NOTE: Final = re.compile(r"\s[#;]")
"""How a note begins that somebody has put behind an address."""
_BLANK: Final = re.compile(r"[^\S\t-\r\x1c-\x1f]")

csv.field_size_limit(2**31 - 1)  # texts beside the addresses may be of any length


def entries(name: str, content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the entries of a list with the numbers of their lines (of a Parquet table: rows), from 1.

    Args:
        name: what the file is called, for its ending and for messages.
        content: what it holds.

    Raises:
        UserError: it is no list of that kind.
    """
    ending, compression = kind(name)
    if ending in _PARQUET:
        return _of_parquet(name, content)
    text = _decoded(name, _plain(name, content, compression))
    if ending in _CSV:
        return _of_csv(name, ending, text)
    return _of_json(text) if ending in _JSON else _of_text(text)


def kind(name: str) -> tuple[str, str | None]:
    """The ending that says what a list is, and how it is compressed."""
    path = PurePosixPath(name.partition("?")[0].lower())
    compression = _COMPRESSED.get(path.suffix)
    return (PurePosixPath(path.stem) if compression else path).suffix, compression


def without_blanks(address: str) -> str:
    """An address as it is written in a list."""
    return _BLANK.sub(lambda found: quote(found[0]), address)


def _of_cell(value: Any) -> str:
    """The entry in a cell; a blank within an address is one, unless a note seems to begin behind it."""
    text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else str("" if value is None else value)
    text = text.strip()
    return text if _NOTE.search(text) or "://" not in text else without_blanks(text)


def unit(name: str) -> str:
    """What the numbers of its entries count."""
    return "row" if kind(name)[0] in _PARQUET else "line"


def with_entries(name: str, before: bytes | None, new: Sequence[tuple[str, str]]) -> bytes:
    """A list with more entries, each in the column that it has for it; what stands there stays as it is.

    Args:
        name: what the file is called.
        before: what it holds; None begins one.
        new: of each the column (url, sha256 or md5) and the entry.
    """
    ending, compression = kind(name)
    if ending in _PARQUET:
        return _parquet_with(name, before, new)
    text = _plain(name, before or b"", compression)
    if ending in _CSV:
        text = _csv_with(name, ending, text, new)
    elif ending in _JSON:
        text = _joined(text, (json.dumps({column: entry}, ensure_ascii=False) for column, entry in new))
    else:
        text = _joined(text, (entry for _, entry in new))
    return _compressed(text, compression)


def _plain(name: str, content: bytes, compression: str | None) -> bytes:
    if compression is None or not content:
        return content
    try:
        return bytes(pa.input_stream(pa.BufferReader(content), compression=compression).read())
    except (OSError, zlib.error) as error:
        raise UserError(f"removed: {name} is no {compression} file ({error})") from None


def _compressed(content: bytes, compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.output_stream(sink, compression=compression) as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def _decoded(name: str, content: bytes) -> str:
    """The text; a byte that is none of UTF-8 becomes half a surrogate, so that its line is no entry."""
    if b"\0" in content:
        raise UserError(f"removed: {name} is no text file in UTF-8; a Parquet list's name ends in .parquet")
    return content.decode("utf-8-sig", errors="surrogateescape")


def _of_text(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if entry := line.strip():
            yield number, entry


def _of_json(text: str) -> Iterator[tuple[int, str]]:
    for number, line in _of_text(text):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        values = [value for name, value in found.items() if name.lower() in COLUMNS] if isinstance(found, dict) else []
        yield from ((number, _of_cell(value)) for value in values if value)
        if not values:
            yield number, _of_cell(found) if isinstance(found, str) else line


def _of_csv(name: str, ending: str, text: str) -> Iterator[tuple[int, str]]:
    if not text.strip():
        return
    header, form = _header(name, ending, text)
    places = [place for place, column in enumerate(header) if column in COLUMNS]
    for number, row in islice(form.numbered(f"{text}\n{_END}"), 1, None):
        if row == [_END]:
            return
        if len(row) > len(header):
            yield number, f"{len(row)} cells below {len(header)} names: {row}"
        else:
            found = [_of_cell(row[place]) for place in places if place < len(row)]
            yield from ((number, entry) for entry in found if entry)
    raise UserError(f"removed: {name}, line {number}: a quotation mark is opened and never closed")


class _Form(NamedTuple):
    """How cells are told apart."""

    delimiter: str
    quoting: Literal[0, 3]

    def numbered(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """The rows, and the number of the line that each begins on; lines that are empty are none."""
        reader = csv.reader(io.StringIO(text, newline=""), **self._options)
        number = 1
        for row in reader:
            if any(cell.strip() for cell in row):
                yield number, row
            number = reader.line_num + 1

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        for row in rows:
            line = io.StringIO()
            csv.writer(line, lineterminator="", **self._options).writerow(row)
            yield line.getvalue()

    @property
    def _options(self) -> dict[str, Any]:
        quote = None if self.quoting == csv.QUOTE_NONE else '"'  # else the writer refuses a quotation mark
        return {"delimiter": self.delimiter, "quoting": self.quoting, "quotechar": quote}


def _header(name: str, ending: str, text: str) -> tuple[list[str], _Form]:
    """The names of the columns in lower case, and how the lines are to be read."""
    for delimiter in _DELIMITERS if ending == ".csv" else "\t":
        form = _Form(delimiter, csv.QUOTE_MINIMAL if ending == ".csv" else csv.QUOTE_NONE)
        header = [column.strip().lower() for column in next(form.numbered(text))[1]]
        if set(header) & set(COLUMNS):
            return header, form
    raise _no_columns(name, repr(text.strip().partition("\n")[0][:_SHOWN]))


def _of_parquet(name: str, content: bytes) -> Iterator[tuple[int, str]]:
    for column in _read_parquet(name, content, COLUMNS).columns:
        for number, value in enumerate(_undecoded(column).to_pylist(), start=1):
            if text := _of_cell(value):
                yield number, text


def _undecoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with the bytes of its texts, which need not be UTF-8 whatever the table says."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(kind).cast(pa.large_binary())
    return column


def _read_parquet(name: str, content: bytes, wanted: Collection[str] | None = None) -> pa.Table:
    """The table, or only the columns wanted, of which there must be one."""
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        names = file.schema_arrow.names
        found = None if wanted is None else sorted({column for column in names if column.lower() in wanted})
        table = file.read(columns=found)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"removed: {name} is no Parquet table ({error})") from None
    if found == []:
        raise _no_columns(name, ", ".join(names))
    return table


def _no_columns(name: str, found: str) -> UserError:
    return UserError(f"removed: {name} has none of the columns {', '.join(COLUMNS)}, in whatever case, but {found}")


def _joined(before: bytes, lines: Iterable[str]) -> bytes:
    gap = b"\n" if before and not before.endswith(b"\n") else b""
    return before + gap + "".join(f"{line}\n" for line in lines).encode()


def _csv_with(name: str, ending: str, before: bytes, new: Sequence[tuple[str, str]]) -> bytes:
    text = before.decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        before = (("," if ending == ".csv" else "\t").join(_BEGUN) + "\n").encode()
        text = before.decode()
    header, form = _header(name, ending, text)
    names = [*header, *_missing(header, new)]
    rows = [[entry if _place(names, column) == place else "" for place in range(len(names))] for column, entry in new]
    if len(names) == len(header):
        return _joined(before, form.lines(rows))
    first, *others = (row for _, row in form.numbered(text))
    wider = [[*first, *names[len(header) :]], *([*row, *[""] * (len(names) - len(row))] for row in others)]
    return "".join(f"{line}\n" for line in form.lines([*wider, *rows])).encode(errors="surrogateescape")


def _parquet_with(name: str, before: bytes | None, new: Sequence[tuple[str, str]]) -> bytes:
    begun = pa.table({column: pa.array([], pa.string()) for column in _BEGUN})
    old = begun if before is None else _read_parquet(name, before)
    for column in _missing(old.column_names, new):
        old = old.append_column(column, pa.nulls(old.num_rows, pa.string()))
    schema = pa.schema([pa.field(field.name, field.type) for field in old.schema])  # with nothing that must not be null
    columns = [_cells(new, schema, place) for place in range(len(schema))]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables([old.cast(schema), pa.Table.from_arrays(columns, schema=schema)]), buffer)
    return buffer.getvalue()


def _cells(new: Sequence[tuple[str, str]], schema: pa.Schema, place: int) -> pa.Array:
    """What the new rows have in a column of the list."""
    values = [entry if _place(schema.names, column) == place else None for column, entry in new]
    wanted = schema.types[place]
    return pa.array(values, pa.string()).cast(wanted) if any(values) else pa.nulls(len(new), wanted)


def _missing(names: Sequence[str], new: Sequence[tuple[str, str]]) -> list[str]:
    """The columns that a list has to have for these entries and has not."""
    return [column for column in dict.fromkeys(column for column, _ in new) if _place(names, column) is None]


def _place(names: Sequence[str], column: str) -> int | None:
    """Where a list has what belongs into a column; an address may stand in either of two."""
    wanted = ("url", "image_url") if column == "url" else (column,)
    return next((place for each in wanted for place, name in enumerate(names) if name.lower() == each), None)
