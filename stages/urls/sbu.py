"""SBU captions: the JSON of parallel lists, or two files whose lines belong together.

The JSON's lists follow one another in the file, so each is read by a cursor of its own: three passes over 240 MB
instead of a million rows in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader, chunks, text_batch
from stages.urls.damage import Damage
from stages.urls.files import Files, open_text
from stages.urls.json_stream import Broken, JsonStream
from stages.urls.lines import ENDS, TOO_LONG, lines
from stages.urls.objects import Object, columns_of
from stages.urls.spec import SbuSource

PAIR = ("image_urls", "captions")
LISTS = (*PAIR, "user_ids")


def schema(_: object, files: Files) -> pa.Schema:
    """Return the lists there are."""
    return pa.schema([(name, pa.string()) for name in (LISTS if len(files) == 1 else PAIR)])


def read(_: SbuSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row for each url and its caption.

    Raises:
        UserError: the lists have different lengths.
    """
    names = list(dict.fromkeys([*PAIR, *columns]))
    with contextlib.ExitStack() as stack:
        lists = [stack.enter_context(contextlib.closing(_list(name, files))) for name in names]
        for some in chunks(_sound(names, _aligned(names, lists, damage.place), damage)):
            arrays = columns_of(some, PAIR, columns, damage)
            url, text = (arrays[name] for name in PAIR)
            yield text_batch(arrays, columns, [number for number, _ in some], url=url, text=text)


def _sound(names: Sequence[str], entries: Iterator[tuple[Any, ...]], damage: Damage) -> Iterator[tuple[int, Object]]:
    for number, entry in damage.numbered(entries, "entry"):
        broken = [(name, value) for name, value in zip(names, entry, strict=True) if isinstance(value, Broken)]
        if broken:
            damage.left_out(number, f"{broken[0][1].why} in {broken[0][0]}")
        else:
            yield number, dict(zip(names, entry, strict=True))


def _aligned(names: Sequence[str], lists: Sequence[Iterator[Any]], place: str) -> Iterator[tuple[Any, ...]]:
    missing = object()
    for number, entry in enumerate(zip_longest(*lists, fillvalue=missing), start=1):
        if missing in entry:
            short = names[entry.index(missing)]
            raise UserError(f"{place}: {short} ends before entry {number}, the others go on; fetch the source anew")
        yield entry


def _list(name: str, files: Files) -> Generator[Any, None, None]:
    if len(files) == 1:
        with open_text(files[0]) as file:
            yield from JsonStream(file, files[0]).array_of(name)
    else:
        with open_text(files[PAIR.index(name)]) as file:
            yield from (Broken(TOO_LONG) if line is None else line.rstrip(ENDS) for line in lines(file))


READER = Reader(schema, read)
