"""The bootstrapped corpus, shard by shard: which captions each image keeps."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from stages.candidates import CANDIDATE, read_candidates
from stages.contract import CorpusShard
from stages.tables import Origin


def kept_captions(shard: CorpusShard) -> dict[str, list[str]]:
    """Each image's kept captions as they were written: the best first, human ones in their own order.

    Raises:
        ValueError: the tables do not cover the same candidates.
    """
    rows = kept_rows(shard)
    found: dict[str, list[str]] = {}
    for key, caption in zip(rows["key"].to_pylist(), rows["caption"].to_pylist(), strict=True):
        found.setdefault(key, []).append(caption)
    return found


def all_captions(shard: CorpusShard, origin: Origin | None = None) -> dict[str, list[str]]:
    """Each image's captions where nothing has been selected; those of other images are none of them.

    Args:
        shard: with the role `captions`.
        origin: whose captions; None for all.
    """
    rows = read_candidates(shard, ["origin", "caption"])
    rows = rows.filter(pc.field("origin") != "shuffled" if origin is None else pc.field("origin") == origin)
    found: dict[str, list[str]] = {}
    for key, caption in zip(rows["key"].to_pylist(), rows["caption"].to_pylist(), strict=True):
        found.setdefault(key, []).append(caption)
    return found


def kept_rows(shard: CorpusShard) -> pa.Table:
    """The kept captions, image by image, each image's best first.

    Returns:
        A table with the columns key, writer, candidate, rank, origin, caption.

    Raises:
        ValueError: the tables do not cover the same candidates.
    """
    selection = shard.one("selection").table([*CANDIDATE, "rank", "kept"])
    kept = selection.filter(pc.field("kept")).drop_columns("kept")
    rows = kept.join(read_candidates(shard, ["origin", "caption"]), list(CANDIDATE), join_type="inner")
    if rows.num_rows != kept.num_rows:
        raise ValueError(f"{shard.one('captions').url} lacks {kept.num_rows - rows.num_rows} caption(s) that were kept")
    return rows.sort_by([("key", "ascending"), ("rank", "ascending")])
