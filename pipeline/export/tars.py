"""The corpus as WebDataset tars: a tar for every shard that keeps captions, numbered through without a gap.

A shard keeps its number from export to export. Where one is gone or keeps no caption any more, another takes its
number, so that `{00000..00041}.tar` names every tar there is and none that is not: webdataset stops at a missing one,
and some readers stumble over an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import pyarrow.compute as pc

from pipeline.export.corpus import claim_corpus, selected, side_by_side, tables_now, tracked
from pipeline.export.mark import Mark, ShardMark, Tables
from pipeline.export.place import Target
from pipeline.export.remembered import remember
from pipeline.export.target import Export, writing
from pipeline.session import Session
from pipeline.watch.console import Console
from stages.contract import CorpusShard
from stages.export.tars import Written, write_shard
from stages.io.shards import BROKEN

THREADS: Final = 8
"""Tars that are written side by side; each waits for storage most of the time."""


@dataclass(frozen=True)
class Tar:
    """A shard as it is now."""

    shard: CorpusShard
    tables: Tables
    """Empty where one of them cannot be read; writing the tar then says why."""
    keeps: bool
    """Whether an image of it keeps a caption."""


def export_tars(session: Session, destination: str, console: Console, *, overwrite: bool) -> dict[str, Any]:
    """Write the tars that are not up to date, and take away those that do not count any more.

    Raises:
        UserError: the destination holds something else, or cannot be written.
    """
    found = selected(session)
    export = claim_corpus(session, Target.of(destination, one_file=False), "webdataset", overwrite=overwrite)
    tars = side_by_side(partial(_look, export), found.shards)
    wanted = [tar.shard.shard for tar in tars if tar.keeps]
    names = number(export.mark, wanted, digits=max(5, len(str(found.total - 1))))
    marks = {tar.shard.shard: ShardMark(tar.tables, names.get(tar.shard.shard)) for tar in tars}
    left = [tar for tar in tars if tar.keeps and not _is_up_to_date(export, marks[tar.shard.shard], tar)]
    changed = not export.mark.complete or marks != export.mark.shards
    failed, notes = [], list[str]()
    if changed:
        notes += remember(session.store, export.target, "webdataset")
        with writing(destination):
            failed = _write(export, left, marks, console)
        notes += [f"{len(left) - len(failed):,} tars written, {len(wanted) - len(left):,} were up to date"]
    notes += [*_how_to_read(export.target, list(names.values())), *_broken(export), *found.notes]
    return {"written": changed, "shards": len(wanted) - len(failed), "failed": failed, "notes": notes}


def number(mark: Mark, wanted: Sequence[str], *, digits: int) -> dict[str, str]:
    """The tar of each shard wanted: the one that it has, if that is among the first, else one that is free.

    Args:
        mark: which tar a shard has.
        wanted: the shards.
        digits: of a tar's number, at least.
    """
    free = {f"{place:0{digits}d}.tar" for place in range(len(wanted))}
    kept = {shard: mark.shards[shard].file for shard in wanted if shard in mark.shards}
    names = {shard: name for shard, name in kept.items() if name in free}
    left = iter(sorted(free - set(names.values())))
    return {shard: names[shard] if shard in names else next(left) for shard in wanted}


def _look(export: Export, shard: CorpusShard) -> Tar:
    try:
        now = tables_now(shard)
        before = export.mark.shards.get(shard.shard)
        keeps = before.file is not None if before and before.tables == now else _keeps(shard)
    except BROKEN:
        return Tar(shard, {}, keeps=True)
    return Tar(shard, now, keeps)


def _keeps(shard: CorpusShard) -> bool:
    return bool(pc.any(shard.one("selection").table(["kept"])["kept"]).as_py())


def _is_up_to_date(export: Export, mark: ShardMark, tar: Tar) -> bool:
    before = export.mark.shards.get(tar.shard.shard)
    return bool(tar.tables) and before == mark and mark.file in export.mark.files


def _write(
    export: Export, left: Sequence[Tar], marks: Mapping[str, ShardMark], console: Console
) -> list[dict[str, str]]:
    """Write tars; those that cannot be are told, and what lay in their place goes, for it is out of date.

    Raises:
        UserError, OSError: nothing can be written.
    """
    own = {tar.shard.shard: str(marks[tar.shard.shard].file) for tar in left}
    export.mark.shards = {shard: mark for shard, mark in marks.items() if shard not in own}
    export.sweep()
    export.begin(list(own.values()), stay=[mark.file for mark in export.mark.shards.values() if mark.file])
    failed = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="export") as pool:
        try:
            urls = [export.target.url(name) for name in own.values()]
            written = pool.map(_try_writing, left, urls)
            for tar, done in zip(left, tracked(written, console, len(left)), strict=True):
                shard = tar.shard.shard
                if isinstance(done, Written):
                    export.mark.shards[shard] = marks[shard]
                    export.wrote(own[shard], asdict(done))
                else:
                    export.target.remove(own[shard])
                    failed.append({"node": "export", "shard": shard, "error": done})
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            export.save()
    export.end(complete=not failed)
    return failed


def _try_writing(tar: Tar, url: str) -> Written | str:
    """Write a tar, or say why its shard cannot be read."""
    try:
        return write_shard(tar.shard, url)
    except BROKEN as error:
        return f"{type(error).__name__}: {error}"


def _how_to_read(target: Target, names: Sequence[str]) -> list[str]:
    if not names:
        return ["no image keeps a caption, so there is no tar"]
    first, last = (name.removesuffix(".tar") for name in (min(names), max(names)))
    return [f"read them as {target.url(f'{{{first}..{last}}}.tar')}"]


def _broken(export: Export) -> list[str]:
    """What the user should know of images that cannot be decoded, or are there no more."""
    found = {
        key: why for record in export.mark.files.values() if record for key, why in record.get("broken", {}).items()
    }
    if not found:
        return []
    key, why = next(iter(found.items()))
    return [f"{len(found):,} images cannot be read and are left out, such as {key}: {why}"]
