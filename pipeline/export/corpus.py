"""The corpus as other programs read it: which shards there are, what they are made of, and the corpus as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from rich.progress import track

from pipeline.dag.fingerprint import fingerprint
from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import artifacts, listings, read_listing
from pipeline.dag.plan import NodePlan
from pipeline.export.mark import Subject, Tables, tables_of
from pipeline.export.place import Target
from pipeline.export.remembered import remember
from pipeline.export.target import Export, claim
from pipeline.session import Session
from pipeline.watch.console import Console
from stages.contract import CorpusShard
from stages.errors import UserError
from stages.export.pairs import pairs, write_list
from stages.io.shards import BROKEN
from stages.urls.known import Counted

_LAYOUTS: Final = {"webdataset": 1, "json": 1}
"""By format; raised by hand when the files are written otherwise than before."""
_READERS: Final = 32
"""Shards whose tables are looked at side by side."""
T = TypeVar("T")


@dataclass(frozen=True)
class Selected:
    """The shards whose captions are selected, source by source."""

    shards: tuple[CorpusShard, ...]
    total: int
    """How many shards there are in all."""

    @property
    def notes(self) -> list[str]:
        """What the user should know of the others."""
        rest = self.total - len(self.shards)
        told = f"{rest:,} of {self.total:,} shards are not selected yet and are left out; see `capfilt status`"
        return [told] if rest else []


def export_pairs(session: Session, destination: str, console: Console, *, overwrite: bool) -> dict[str, Any]:
    """Write the corpus as BLIP's JSON list, unless it is there and up to date.

    Raises:
        UserError: something else is there, or a table cannot be read.
    """
    found = selected(session)
    export = claim_corpus(session, Target.of(destination, one_file=True), "json", overwrite=overwrite)
    read = side_by_side(partial(_or_told, tables_now), found.shards)
    made_of = {shard.shard: tables for shard, tables in zip(found.shards, read, strict=True)}
    outcome: dict[str, Any] = {"shards": len(found.shards), "written": not export.is_made_of(made_of)}
    if not outcome["written"]:
        return outcome | {"notes": found.notes}
    notes = remember(session.store, export.target, "json")
    with export.anew(made_of) as path:
        shards = tracked(found.shards, console, len(found.shards))
        outcome["captions"] = write_list((pair for shard in shards for pair in _or_told(pairs, shard)), path)
    return outcome | {"notes": [f"{outcome['captions']:,} captions", *notes, *found.notes]}


def claim_corpus(session: Session, target: Target, to: str, *, overwrite: bool) -> Export:
    """Make a place that of an export of this manifest's corpus.

    Raises:
        UserError: something else is there.
    """
    selects = [plan.node for plan in _selections(session)]
    return claim(target, Subject.of(session.graph, selects, to, _LAYOUTS[to]), overwrite=overwrite)


def selected(session: Session) -> Selected:
    """The shards whose captions are selected.

    Raises:
        UserError: a source has not been cut into shards, or nothing is selected.
    """
    found: list[CorpusShard] = []
    total = 0
    for plan in _selections(session):
        if plan.shards is None:
            raise UserError(f"sources.{plan.node.source}: its list has not been cut; start with `capfilt run`")
        found += [_shard(session, plan, shard) for shard in _counted(session, plan) if shard.shard in plan.done]
        total += len(plan.shards)
    if not found:
        raise UserError("no shard is selected yet; start with `capfilt run --until select`")
    return Selected(tuple(found), total)


def _selections(session: Session) -> list[NodePlan]:
    """The last step that selects, a source each."""
    plans = [plan for plan in session.plans if plan.node.spec.writes == "selection"]
    return [plan for plan in plans if plan.node.step == plans[-1].node.step]


def _counted(session: Session, plan: NodePlan) -> list[Counted]:
    assert plan.node.source is not None, "a selection is made source by source"
    cut = session.graph.cutting(plan.node.source)
    return read_listing(session.store, session.store.folder_of(cut), listings(cut, session.store))


def _shard(session: Session, plan: NodePlan, shard: Counted) -> CorpusShard:
    """What the steps made of a shard."""
    source = plan.node.source
    assert source is not None, "a selection is made source by source"
    folders: dict[str, list[str]] = {}
    for node in _read_by(session.graph, plan.node):
        folders.setdefault(node.spec.writes, []).append(session.store.folder_of(node))
    return CorpusShard(artifacts(session.store, folders, shard.shard, shard.without), source, shard.shard)


def _read_by(graph: Graph, selection: Node) -> list[Node]:
    """The nodes whose tables go into an export: a selection, what it reads, and the images and rows below those."""
    own = {selection.name, *selection.inputs}
    kinds = {graph.nodes[name].spec.writes for name in own}
    needed = [graph.nodes[name] for name in graph.nodes if name in graph.needed_by(own)]
    below = [node for node in needed if node.source == selection.source and node.spec.grain in {"file", "shard"}]
    return [node for node in below if node.name in own or node.spec.writes not in kinds]


def tables_now(shard: CorpusShard) -> Tables:
    """Which attempts at its tables lie there now.

    Raises:
        OSError: one of them is gone, or cannot be read.
    """
    found = [artifact for artifacts in shard.inputs.values() for artifact in artifacts]
    gone = found[0].without  # rows may have moved to another shard
    return tables_of(found) | ({"without": fingerprint(sorted(gone))} if gone else {})


def side_by_side(look: Callable[[CorpusShard], T], shards: Sequence[CorpusShard]) -> list[T]:
    """What `look` finds in every shard, in their order."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="look") as pool:
        return list(pool.map(look, shards))


def _or_told(read: Callable[[CorpusShard], T], shard: CorpusShard) -> T:
    """What is read of a shard.

    Raises:
        UserError: it is gone or broken.
    """
    try:
        return read(shard)
    except BROKEN as error:
        raise UserError(f"shard {shard.shard} cannot be read ({type(error).__name__}: {error})") from None


def tracked(items: Iterable[Any], console: Console, total: int) -> Iterable[Any]:
    """Items with a progress bar, where somebody looks at one."""
    return track(items, "export", total, console=console, transient=True, disable=not console.is_terminal)
