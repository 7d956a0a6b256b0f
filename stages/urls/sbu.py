"""SBU captions: the JSON of parallel lists, or two files whose lines belong together.

The JSON's lists follow one another in the file, so each is read by a cursor of its own: three passes over 240 MB
instead of a million rows in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader, chunks, content, own_columns
from stages.urls.files import Files, open_text
from stages.urls.json_stream import JsonStream
from stages.urls.spec import SbuSource

PAIR = ("image_urls", "captions")
LISTS = (*PAIR, "user_ids")


def schema(_: object, files: Files) -> pa.Schema:
    """Return the lists there are."""
    return pa.schema([(name, pa.string()) for name in (LISTS if len(files) == 1 else PAIR)])


def read(source: SbuSource, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield one row for each url and its caption.

    Raises:
        UserError: the lists have different lengths.
    """
    own = schema(source, files)
    names = list(dict.fromkeys([*PAIR, *columns]))
    with contextlib.ExitStack() as stack:
        lists = [stack.enter_context(contextlib.closing(_list(name, files))) for name in names]
        for entries in chunks(_aligned(names, lists, " / ".join(files))):
            rows = own_columns(own, names, [dict(zip(names, entry, strict=True)) for entry in entries])
            url, text = (rows.column(name) for name in PAIR)
            yield Batch(content(rows.num_rows, url=url, text=text), rows.select(columns))


def _aligned(names: list[str], lists: Sequence[Iterator[str | None]], place: str) -> Iterator[tuple[str | None, ...]]:
    missing = object()
    for number, entry in enumerate(zip_longest(*lists, fillvalue=missing), start=1):
        if missing in entry:
            short = names[entry.index(missing)]
            raise UserError(f"{place}: {short} ends before entry {number}, the others go on; fetch the source anew")
        yield entry  # type: ignore[misc]  # `missing` is not among them


def _list(name: str, files: Files) -> Generator[str | None, None, None]:
    if len(files) == 1:
        with open_text(files[0]) as file:
            for entry in JsonStream(file, files[0]).array_of(name):
                yield None if entry is None else str(entry)
    else:
        with open_text(files[PAIR.index(name)]) as file:
            yield from (line.rstrip("\r\n") for line in file)


READER = Reader(schema, read)
