"""What the tars say of an image beside its pixels: one JSON object, laid out for everybody who reads such tars.

| reader | what it reads |
|---|---|
| LAVIS 1.0.2 and its repository | `caption`, a text |
| img2dataset's users | `url`, `key`, `caption`, `sha256`, `width`, `height`, `original_width`, `original_height` |
| capfilt, in a second round | `url`, `caption`, `captions` |

`captions`, `origins`, `clip_scores` and `itm_scores` are lists of the same length, the best caption first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from stages.candidates import CANDIDATE
from stages.contract import CorpusShard
from stages.corpus import kept_rows
from stages.io.json_text import to_json
from stages.own_columns import own_names
from stages.tables import URLS

_SCORES: Final = {"similarities": "clip_score", "matches": "itm_score"}
"""The columns of scores, by the role that they have; a source may have been scored by neither."""
_PER_CAPTION: Final = {column: f"{column}s" for column in ("caption", "origin", "clip_score", "itm_score")}
"""What a list is called that has one entry per caption, by the column that it comes from."""
_NOT_TOLD: Final = ("key", "url", "status", "error", "member", "retry")
"""Columns of the images table that say nothing of the image, or stand elsewhere."""


def descriptions(shard: CorpusShard) -> dict[str, dict[str, Any]]:
    """The object of every image that keeps a caption, by key; memory holds a shard's tables.

    Raises:
        ValueError: the tables do not cover the same candidates.
    """
    said = dict(_captions(shard))
    urls, images = (_rows_of(artifact.table(), said) for artifact in (shard.one("urls"), shard.one("images")))
    return {key: _described(key, captions, urls[key], images[key]) for key, captions in said.items()}


def as_json(described: Mapping[str, Any]) -> bytes:
    """JSON that every parser takes: what is no finite number is null; dates, decimals and the like are texts."""
    return to_json(described, default=_text).encode()


def _captions(shard: CorpusShard) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """What is said of every image, caption by caption."""
    rows = _with_scores(kept_rows(shard), shard).to_pylist()
    for key, group in groupby(rows, lambda row: str(row["key"])):
        own = list(group)
        yield key, {name: [row[column] for row in own] for column, name in _PER_CAPTION.items()}


def _with_scores(rows: pa.Table, shard: CorpusShard) -> pa.Table:
    for role, column in _SCORES.items():
        scores = shard.maybe(role)
        if scores is not None:
            rows = rows.join(scores.table([*CANDIDATE, column]), list(CANDIDATE), join_type="left outer")
        else:
            rows = rows.append_column(column, pa.nulls(rows.num_rows, pa.float32()))
    return rows.sort_by([("key", "ascending"), ("rank", "ascending")])


def _rows_of(table: pa.Table, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    mask = pa.array([key in keys for key in table["key"].to_pylist()], pa.bool_())
    return {row["key"]: row for row in table.filter(mask).to_pylist()}


def _described(
    key: str, captions: Mapping[str, Sequence[Any]], url: Mapping[str, Any], image: Mapping[str, Any]
) -> dict[str, Any]:
    ours = {
        "caption": captions["captions"][0],
        **captions,
        "key": key,
        "url": url["url"],
        "source": url["source"],
        **{name: value for name, value in image.items() if name not in _NOT_TOLD},
    }
    own = {name: value for name, value in url.items() if name not in URLS.names}
    return ours | {name: own[column] for column, name in own_names(list(own), ours).items()}


def _text(value: Any) -> str:
    """What JSON has no type for, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
