"""`capfilt clean`: what died attempts have left, and results that nobody asks for any more.

A stray is what nothing will ever read: a file that was not whole when its process died, a side file whose table did not
land, an upload in parts that was never completed, a scratch folder of a process that is gone from this host, what a
killed run said of itself, checkpoints that no run goes on with. What a run under way is just writing looks the same,
so that only what is old enough is removed; and what such a run takes away itself meanwhile is nobody's fault.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.dag.lineage import CHECKPOINTS
from pipeline.dag.listing import PARTS
from pipeline.export.remembered import EXPORTS
from pipeline.sql.compaction import stray_tables
from pipeline.store import Store
from pipeline.upkeep.interrupted import useless
from pipeline.watch.runs import RUNS, run_files
from stages.errors import UserError
from stages.io.files import SCRATCH, remove
from stages.registry import STAGES

READERS = 8
"""Folders of the output that are looked through at once."""


@dataclass
class Cleaned:
    """What was removed, or would be."""

    strays: list[str] = field(default_factory=list)
    """Files, folders and uploads."""
    unused: list[str] = field(default_factory=list)
    """Folders of results."""
    bytes: int = 0


def age_of(minutes: float) -> timedelta:
    """So many minutes.

    Raises:
        UserError: no file can be so old.
    """
    try:
        age = timedelta(minutes=minutes)
        datetime.now(UTC) - age
    except (OverflowError, ValueError):
        raise UserError(f"--older-than {minutes:g}: no file is so old; name a number of minutes, such as 60") from None
    return age


def clean(store: Store, *, older_than: timedelta, keep: Collection[str] | None, dry_run: bool) -> Cleaned:
    """Remove strays, and on demand results.

    Args:
        store: the output.
        older_than: the age from which on a stray is one.
        keep: the result folders to keep; None keeps all.
        dry_run: say what would be removed, and leave it.
    """
    before, done = datetime.now(UTC) - older_than, Cleaned()
    folders = [store.folder(stage, found) for stage in STAGES for found in store.fingerprints(stage)]
    unused = [] if keep is None else [folder for folder in folders if folder not in keep]
    for folder in unused:
        _remove(store, folder, dry_run=dry_run, into=done.unused, done=done)
    left = [folder for folder in folders if folder not in unused]
    for stray in _strays(store, left):
        if _is_old(store, stray, before):
            _remove(store, stray, dry_run=dry_run, into=done.strays, done=done)
    for training in useless(store, left):
        if all(_is_old(store, file, before) for file in store.filesystem.find(training)):
            _remove(store, training, dry_run=dry_run, into=done.strays, done=done)
    _abort_uploads(store, before, dry_run=dry_run, done=done)
    _remove_scratch(before, dry_run=dry_run, done=done)
    return done


def _strays(store: Store, folders: list[str]) -> list[str]:
    places = [store.root, f"{store.root}/{RUNS}", f"{store.root}/{EXPORTS}"]
    places += [place for folder in folders for place in (folder, f"{folder}/{PARTS}", f"{folder}/{CHECKPOINTS}")]
    looks = [(store.strays, place) for place in places] + [(partial(stray_tables, store), place) for place in folders]
    with ThreadPoolExecutor(READERS) as pool:
        found = zip(looks, pool.map(lambda look: look[0](look[1]), looks), strict=True)
        return run_files(store) + [f"{place}/{name}" for (_, place), names in found for name in names]


def _is_old(store: Store, url: str, before: datetime) -> bool:
    """Whether something is there still, and was written before that."""
    try:
        return bool(store.filesystem.modified(url) < before)
    except FileNotFoundError:
        return False


def _remove(store: Store, url: str, *, dry_run: bool, into: list[str], done: Cleaned) -> None:
    with suppress(FileNotFoundError):  # somebody has been faster
        size = store.filesystem.du(url)
        if not dry_run:
            remove(url)
        done.bytes += size
        into.append(url)


def _abort_uploads(store: Store, before: datetime, *, dry_run: bool, done: Cleaned) -> None:
    """On S3, parts of an upload that was never completed take up space, and no listing shows them."""
    if "s3" not in store.filesystem.protocol:
        return
    bucket, _, prefix = store.root.partition("://")[2].partition("/")
    page: dict[str, Any] = {"IsTruncated": True}
    while page.get("IsTruncated"):
        after = {"KeyMarker": page["NextKeyMarker"]} if "NextKeyMarker" in page else {}
        own = f"{prefix}/" if prefix else ""
        page = store.filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=own, **after)
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] < before:
                done.strays.append(f"upload of s3://{bucket}/{upload['Key']}")
                if not dry_run:
                    which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    store.filesystem.call_s3("abort_multipart_upload", **which)


def _remove_scratch(before: datetime, *, dry_run: bool, done: Cleaned) -> None:
    """Scratch folders of this user's processes on this host that live no more."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        with suppress(FileNotFoundError):  # somebody has been faster
            if _is_abandoned(path, before):
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                if not dry_run:
                    shutil.rmtree(path)
                done.strays.append(str(path))
                done.bytes += size


def _is_abandoned(path: Path, before: datetime) -> bool:
    """Whether a scratch folder is this user's, of a process that lives no more, and older than that."""
    process = path.name.removeprefix(SCRATCH).partition("-")[0]
    own = process.isdigit() and path.is_dir() and path.stat().st_uid == os.getuid()
    return own and not Path(f"/proc/{process}").exists() and path.stat().st_mtime < before.timestamp()
