"""The corpus as WebDataset tars or as one JSON list: which shards there are, and what of them is left to write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import fsspec
from rich.console import Console
from rich.progress import track

from pipeline.plan import NodePlan
from pipeline.session import Session
from stages.contract import CorpusShard
from stages.errors import UserError
from stages.export.pairs import write_pairs
from stages.export.tars import write_shard
from stages.files import write_whole

MARK = "export.json"
"""Beside the tars: which corpus they are of."""
THREADS = 8
"""Tars that are written side by side; each waits for storage most of the time."""


@dataclass(frozen=True)
class Numbered:
    """A shard and its place among all shards of all sources, by which its tar is named."""

    number: int
    tables: CorpusShard


def export_pairs(session: Session, destination: str, console: Console) -> dict[str, Any]:
    """Write the corpus as BLIP's JSON list."""
    shards, total = _selected(session)
    count = write_pairs((shard.tables for shard in _tracked(shards, console)), destination)
    return {"captions": count, "shards": len(shards), "notes": [f"{count:,} captions", *_left_out(len(shards), total)]}


def export_tars(session: Session, destination: str, console: Console) -> dict[str, Any]:
    """Write the corpus as tars, numbered through; those that are there already stay.

    Raises:
        UserError: the destination holds something else.
    """
    shards, total = _selected(session)
    root, digits = destination.rstrip("/"), max(5, len(str(total - 1)))
    _claim(root, session, total)
    there = _names(root)
    names = {shard.number: f"{shard.number:0{digits}d}.tar" for shard in shards}
    left = [shard for shard in shards if names[shard.number] not in there]
    failed = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="export") as pool:
        written = pool.map(lambda shard: _try_writing(shard, f"{root}/{names[shard.number]}"), left)
        for shard, error in zip(left, _tracked(written, console, len(left)), strict=True):
            if error is not None:
                failed.append({"node": "export", "shard": shard.tables.shard, "error": error})
    last = f"{total - 1:0{digits}d}"
    notes = [f"{len(left) - len(failed):,} tars written, {len(shards) - len(left):,} were there already"]
    notes += [f"read them as {root}/{{{0:0{digits}d}..{last}}}.tar", *_left_out(len(shards), total)]
    return {"shards": len(shards) - len(failed), "failed": failed, "notes": notes}


def _try_writing(shard: Numbered, url: str) -> str | None:
    """Write a tar; a shard whose images are gone or broken is told, and the others go on."""
    try:
        write_shard(shard.tables, url)
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _selected(session: Session) -> tuple[list[Numbered], int]:
    """The shards whose captions are selected, and how many shards there are in all.

    Raises:
        UserError: a source has not been cut into shards, or nothing is selected.
    """
    found, total = [], 0
    for plan in (plan for plan in session.plans if plan.node.spec.name == "select"):
        if plan.shards is None:
            raise UserError(f"sources.{plan.node.source}: its list has not been cut; start with `capfilt run`")
        for number, name in enumerate(plan.shards, total):
            if name in plan.done:
                found.append(Numbered(number, _tables(session, plan, name)))
        total += len(plan.shards)
    if not found:
        raise UserError("no shard is selected yet; start with `capfilt run --until select`")
    return found, total


def _tables(session: Session, plan: NodePlan, shard: str) -> CorpusShard:
    """What every stage of the source made of a shard."""
    source, store = plan.node.source, session.store
    assert source is not None, "select works source by source"
    nodes = [node for node in session.graph.nodes.values() if node.source == source]
    folders = {node.spec.name: store.folder(node.spec.name, node.fingerprint) for node in nodes}
    return CorpusShard(source, shard, {stage: store.artifact(folder, shard) for stage, folder in folders.items()})


def _claim(root: str, session: Session, total: int) -> None:
    """Say in the destination which corpus its tars are of.

    Raises:
        UserError: it says another one, or holds something that is no export.
    """
    selects = {plan.node.name: plan.node.fingerprint for plan in session.plans if plan.node.spec.name == "select"}
    mark = json.dumps({"format": "webdataset", "shards": total, "corpus": selects}, indent=1).encode()
    names = _names(root)
    if MARK not in names:
        if names:
            raise UserError(f"{root} holds something that is no export; name a new folder")
        write_whole(f"{root}/{MARK}", mark)
        return
    filesystem, path = fsspec.core.url_to_fs(f"{root}/{MARK}")
    if filesystem.cat_file(path) != mark:
        raise UserError(f"{root} holds the tars of another corpus (see its {MARK}); name a new folder")


def _names(root: str) -> set[str]:
    filesystem, path = fsspec.core.url_to_fs(root)
    try:
        found = filesystem.ls(path, detail=False, refresh=True)
        return {str(name).rstrip("/").rsplit("/", 1)[-1] for name in found}
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise UserError(f"{root} is a file; name a folder for the tars") from None


def _left_out(selected: int, total: int) -> list[str]:
    if selected == total:
        return []
    return [f"{total - selected:,} of {total:,} shards are not selected yet and are left out; see `capfilt status`"]


def _tracked(items: Iterable[Any], console: Console, total: int | None = None) -> Iterable[Any]:
    """Items with a progress bar, where somebody looks at one."""
    return track(items, "export", total, console=console, transient=True, disable=not console.is_terminal)
