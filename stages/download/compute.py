"""The download of one shard: every row of its urls table becomes a row of its images table, in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.contract import Output, Shard
from stages.download.containers import container_of, unpack
from stages.download.existing import read_existing
from stages.download.fit import Fit
from stages.download.local import Local
from stages.download.rows import Outcome, Row, images_table, read_rows
from stages.download.spec import DownloadRecipe, PlacedDownloadRun
from stages.download.spool import Spool
from stages.download.web import Web
from stages.io.webdataset import json_part, write_tar
from stages.removals import RemovalList, Removals
from stages.tables import RETRY, URLS

_BY_ADDRESS = Outcome("removed", "its address is on the removal list")


class Download:
    """Fetches the images of a shard, each from where it is: the web, a folder, or a tar that exists already."""

    def __init__(self, recipe: DownloadRecipe, run: PlacedDownloadRun) -> None:
        fit = Fit(recipe, run)
        self._extension = recipe.encode_format
        self._containers = run.images if run.packed else None
        self._fit = fit
        self._threads = run.threads
        self._removals = RemovalList(run.removed)
        self._web = Web(recipe, run, fit)
        self._local = Local(run.images, run.threads, fit) if run.images is not None else None

    def __call__(self, shard: Shard) -> Output:
        """Download one shard.

        Raises:
            UserError: the removal list cannot be read.
            ValueError: the rows lie in several tars or tables.
            OSError: the scratch disk or the source's storage is out of order.
        """
        urls, retry = shard.one("urls").table(), int(shard.one("urls").metadata().get(RETRY, 0))
        rows = read_rows(urls)
        removals = self._removals()
        container = container_of(self._containers, rows) if self._containers is not None else None
        if container is not None and container.can_stay:
            found = read_existing(container, rows, self._fit)
            by_address = {row.index: _BY_ADDRESS for row in rows if removals.has_url(row.url)}
            return _output(rows, _without_removed(found, removals) | by_address, retry, links={"tar": container.url})
        return self._store(urls, rows, removals, shard.scratch, retry)

    def _store(self, urls: pa.Table, rows: Sequence[Row], removals: Removals, scratch: Path, retry: int) -> Output:
        tar = scratch / "images.tar"
        with Spool(scratch / "images.spool") as spool:
            outcomes = {row.index: _BY_ADDRESS for row in rows if removals.has_url(row.url)}
            left = [row for row in rows if row.index not in outcomes]
            outcomes |= _without_removed(self._fetch(left, removals, spool, scratch), removals)
            named = {
                row.index: replace(outcomes[row.index], member=f"{row.key}.{self._extension}")
                for row in rows
                if outcomes[row.index].status == "success"
            }
            write_tar(tar, self._samples(urls, rows, named, spool))
        return _output(rows, outcomes | named, retry, sides={"tar": tar})

    def _fetch(self, rows: Sequence[Row], removals: Removals, spool: Spool, scratch: Path) -> dict[int, Outcome]:
        at_hand = [row for row in rows if row.file and self._local is not None]
        outcomes = self._at_hand(at_hand, spool)  # first, since it says so if their folder is the wrong one
        return outcomes | self._web([row for row in rows if row.index not in outcomes], spool, scratch, removals)

    def _at_hand(self, rows: Sequence[Row], spool: Spool) -> dict[int, Outcome]:
        if self._local is None:
            return {}
        container = container_of(self._containers, rows) if self._containers is not None else None
        if container is not None:
            return unpack(container, rows, spool, self._fit, self._threads)
        return self._local(rows, spool)

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


def _without_removed(outcomes: dict[int, Outcome], removals: Removals) -> dict[int, Outcome]:
    return {
        index: _by_content(outcome) if removals.has_content(outcome.sha256, outcome.md5) else outcome
        for index, outcome in outcomes.items()
    }


def _by_content(outcome: Outcome) -> Outcome:
    return Outcome("removed", "its content is on the removal list", sha256=outcome.sha256, md5=outcome.md5)


def _description(row: Row, own_columns: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The JSON beside an image: img2dataset's field names, and the source's own columns."""
    known = {name: value for name, value in asdict(outcome).items() if name not in ("error", "member", "retry")}
    return {**own_columns, "key": row.key, "url": row.url, "caption": row.text, **known}


def _output(rows: Sequence[Row], outcomes: dict[int, Outcome], retry: int, **files: Any) -> Output:
    in_order = [replace(outcomes[row.index], retry=retry) for row in rows]
    counts = Counter(outcome.status for outcome in in_order)
    return Output(images_table(rows, in_order), counts={"urls": len(rows), **dict(sorted(counts.items()))}, **files)
