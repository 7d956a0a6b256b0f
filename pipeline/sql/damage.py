"""Which table of an output is damaged, where DuckDB stumbles over one.

What DuckDB says of a damaged table depends on the byte: it names the file or does not, or names another one, whose
columns differ from those of the damaged one; it speaks of the query, of storage or of itself. So its words are a hint,
and the tables themselves are looked at, one by one. A byte within a value is found by its page's checksum alone, which
DuckDB does not look at: where nothing else is amiss it shows the value as it is now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dag.listing import LISTED, PARTS
from pipeline.sql.scan import Tables, below, open_duckdb, scan
from pipeline.store import COMPACTED, Store, file_of
from stages.errors import DamagedError
from stages.io.files import open_bytes
from stages.io.shards import damaged_table, whole_table
from stages.kinds import KINDS
from stages.registry import STAGES

STUMBLES: Final = (duckdb.Error, RuntimeError, ValueError, OverflowError, MemoryError)
"""What asking DuckDB raises."""
MISTAKES: Final = (
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
)
"""What is wrong with a query, and with no table."""
READERS: Final = 16
"""Tables that are looked at side by side."""
FETCHED: Final = 1000
"""Rows that are held at once."""


@contextmanager
def whole_tables(store: Store, folders: Iterable[str], passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What has DuckDB read tables of the output; one that is damaged is told with its name, and with what to do.

    Args:
        store: the output.
        folders: of the stages' results that are read.
        passing: errors that no damaged table makes.

    Raises:
        DamagedError: a table is damaged.
        STUMBLES: anything else is wrong.
    """
    try:
        yield
    except STUMBLES as error:
        if not isinstance(error, passing) and (found := damaged(store, folders, error)):
            raise found from None
        raise


def damaged(store: Store, folders: Iterable[str], error: Exception) -> DamagedError | None:
    """The damaged table that made DuckDB raise an error; None where there is none.

    Args:
        store: the output.
        folders: those whose tables it has read.
        error: what it raised.
    """
    named = _named(str(error))
    urls = [url for folder in dict.fromkeys(folders) for url in _tables(store, folder)]
    if isinstance(error, duckdb.IOException):  # a file that ends too early is one that storage does not give
        return _fault(store, named) if named in urls else None
    for look in (_fault, _odd_columns):
        if found := _first(partial(look, store), sorted(urls, key=lambda url: url != named)):
            return found
    return _told(named, error) if named in urls else None


def _first(look: partial[DamagedError | None], urls: Sequence[str]) -> DamagedError | None:
    pool = ThreadPoolExecutor(READERS)
    try:
        return next(filter(None, pool.map(look, urls)), None)
    finally:
        pool.shutdown(cancel_futures=True)


def _named(words: str) -> str:
    """The file that DuckDB says that it stumbled over, where that may be a table of the output."""
    found = re.search(rf"""file ['"]([^'"]*/(?:{"|".join(STAGES)})/[0-9a-f]{{16}}/[^'"]*)['"]""", words, re.IGNORECASE)
    return found[1] if found else ""


def _tables(store: Store, folder: str) -> list[str]:
    """All tables of a folder: of shards, of listings, and the large ones."""
    places = (folder, f"{folder}/{PARTS}")
    small = [f"{place}/{file_of(name)}" for place in places for name in sorted(store.committed(place))]
    return small + [f"{folder}/{COMPACTED}/{name}" for name in store.compacted(folder)]


def _fault(store: Store, url: str) -> DamagedError | None:
    """What is wrong with a table that cannot be read to its end, by Arrow or by DuckDB."""
    try:
        with whole_table(url), open_bytes(url) as file:
            for _ in pq.ParquetFile(file, page_checksum_verification=True).iter_batches(FETCHED):
                pass
        with open_duckdb(store) as connection:
            rows = connection.execute(scan(store, [Tables(below(store, *url.rsplit("/", 1)), {})]))
            while rows.fetchmany(FETCHED):
                pass
    except DamagedError as error:
        return error if f"/{COMPACTED}/" not in url else _told(url, error)
    except OSError:  # storage, which is no table's fault
        return None
    except STUMBLES as error:  # storage has just given it, so if DuckDB cannot read on, that is the table's fault
        return _told(url, error)
    return None


def _odd_columns(_store: Store, url: str) -> DamagedError | None:
    """What is wrong with a table of a shard whose columns are not those that its stage writes."""
    folder = url.rsplit("/", 1)[0]
    if folder.endswith(f"/{COMPACTED}"):
        return None
    stage = url.rsplit("/", 4 if folder.endswith(f"/{PARTS}") else 3)[1]
    kind = KINDS.get(STAGES[stage].writes)
    wanted = LISTED if folder.endswith(f"/{PARTS}") else kind.schema if kind else pa.schema([])
    with open_bytes(url) as file:
        found = {field.name: field.type for field in pq.read_schema(file)}
    odd = [field.name for field in wanted if found.get(field.name) != field.type]
    return _told(url, f"it has no column {odd[0]}, or one of another type") if odd else None


def _told(url: str, error: object) -> DamagedError:
    return DamagedError(url, error) if f"/{COMPACTED}/" in url else damaged_table(url, error)
