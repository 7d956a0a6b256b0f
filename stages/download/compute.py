"""The download of one shard: every row of its urls table becomes a row of its images table, in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.contract import Output, Shard
from stages.download.existing import lies_in_tar, read_existing
from stages.download.fit import Fit
from stages.download.local import Local
from stages.download.rows import Outcome, Row, images_table, read_rows
from stages.download.spec import DownloadRecipe, DownloadRun
from stages.download.spool import Spool
from stages.download.web import Web
from stages.tables import URLS
from stages.webdataset import json_part, write_tar


class Download:
    """Fetches the images of a shard, each from where it is: the web, a folder, or a tar that exists already."""

    def __init__(self, recipe: DownloadRecipe, run: DownloadRun) -> None:
        fit = Fit(recipe)
        self._extension = recipe.encode_format
        self._images = run.images
        self._web = Web(recipe, run.threads, fit)
        self._local = Local(run.images, run.threads, fit) if run.images is not None else None

    def __call__(self, shard: Shard) -> Output:
        """Download one shard.

        Raises:
            ValueError: the rows lie in several tars.
            OSError: the scratch disk or the source's storage is out of order.
        """
        urls = shard.inputs["urls"].table()
        rows = read_rows(urls)
        if self._images is not None and any(map(lies_in_tar, rows)):
            tar, found = read_existing(self._images, rows)
            return _output(rows, found, links={"tar": tar})
        return self._store(urls, rows, shard.scratch)

    def _store(self, urls: pa.Table, rows: Sequence[Row], scratch: Path) -> Output:
        at_hand = [row for row in rows if row.file and self._local is not None]
        elsewhere = [row for row in rows if not row.file or self._local is None]
        tar = scratch / "images.tar"
        with Spool(scratch / "images.spool") as spool:
            outcomes = self._web(elsewhere, spool, scratch)
            if self._local is not None:
                outcomes |= self._local(at_hand, spool)
            named = {
                row.index: replace(outcomes[row.index], member=f"{row.key}.{self._extension}")
                for row in rows
                if outcomes[row.index].status == "success"
            }
            write_tar(tar, self._samples(urls, rows, named, spool))
        return _output(rows, outcomes | named, sides={"tar": tar})

    def _samples(
        self, urls: pa.Table, rows: Sequence[Row], successes: dict[int, Outcome], spool: Spool
    ) -> Iterator[tuple[str, dict[str, bytes]]]:
        """The WebDataset triplets of the successful rows, in the rows' order."""
        own_columns = urls.drop_columns(URLS.names).to_pylist()
        for row, own in zip(rows, own_columns or [{} for _ in rows], strict=True):
            if row.index in successes:
                yield (
                    row.key,
                    {
                        self._extension: spool.get(row.index),
                        "txt": (row.text or "").encode(),
                        "json": json_part(_description(row, own, successes[row.index])),
                    },
                )


def _description(row: Row, own_columns: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The JSON beside an image: img2dataset's field names, and the source's own columns."""
    known = {name: value for name, value in asdict(outcome).items() if name not in ("error", "member")}
    return {**own_columns, "key": row.key, "url": row.url, "caption": row.text, **known}


def _output(rows: Sequence[Row], outcomes: dict[int, Outcome], **files: Any) -> Output:
    in_order = [outcomes[row.index] for row in rows]
    counts = Counter(outcome.status for outcome in in_order)
    return Output(images_table(rows, in_order), counts={"urls": len(rows), **dict(sorted(counts.items()))}, **files)
