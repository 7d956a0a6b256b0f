"""What a command works with: a graph, the output that it lies in, and the plan of what is left.

`open_session` begins with a manifest and looks at its lists, as whoever computes must; `open_output` begins with what a
run has left, and needs the output alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipeline.dag.digests import Digests
from pipeline.dag.graph import Graph, Lists, Node, absolute, as_now, build_graph
from pipeline.dag.named import digest_of, graph_of, is_manifest, location_of, name_of
from pipeline.dag.plan import NodePlan
from pipeline.dag.stored import Stored, store_graph, stored_graph, stored_names
from pipeline.dag.there import Listings, Trained, plan
from pipeline.demo import prepare
from pipeline.manifest.changes import label
from pipeline.manifest.document import Demo
from pipeline.manifest.load import Manifest, load_manifest, output_of
from pipeline.store import Store
from stages.contract import Use, absent_models
from stages.errors import UserError
from stages.urls.check import check
from stages.urls.digest import digest
from stages.urls.files import Files
from stages.urls.parts import Part, find_parts
from stages.urls.settings import SourceSettings
from stages.urls.spec import Source


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    graph: Graph
    store: Store
    plans: list[NodePlan]
    name: str
    """The manifest's, without its ending."""
    manifest: str
    """The sha256 of its text."""
    uses: Mapping[str, Use]
    removed: str | None
    """fsspec URL of the removal list."""
    demo: Demo | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of lists and models that were looked at."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""
    whole: Graph | None = None
    """With what lies behind `--until`; None where nothing does."""
    before: Graph | None = None
    """That of the run before."""
    path: str = ""
    """See `Stored`."""
    behind: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    """By the name of the node that cuts them, the files behind those that `--limit` needs, as far as can be seen."""

    def until(self, step: str | None) -> Session:
        """The same, up to a step, as the store shows it now.

        Raises:
            UserError: there is no such step.
        """
        if step is not None and not self.graph.of_step(step):
            known = ", ".join(dict.fromkeys(node.step for node in self.graph.nodes.values()))
            raise UserError(f"--until {step}: there is no such step; the steps are {known}")
        found = replace(self, graph=self.graph.until(step), whole=self.whole or self.graph) if step else self
        return found.replanned()

    def others(self) -> dict[str, Graph]:
        """The graphs of other manifests that were run into the same output, by name."""
        names = [name for name in stored_names(self.store) if name != self.name]
        return {stored.name: stored.graph for name in names if (stored := stored_graph(self.store, name))}

    def graphs(self) -> list[Graph]:
        """All graphs that the output is known to hold, this one's latest run's among them."""
        own = stored_graph(self.store, self.name)
        return [self.graph, *([own.graph] if own else []), *self.others().values()]

    def replanned(self) -> Session:
        """The same, as the store shows it now."""
        return replace(self, plans=plan(self.graph, self.store, self.before))


def open_session(  # noqa: PLR0913 - the options of a run
    path: Path,
    until: str | None = None,
    *,
    limit: int | None = None,
    refresh: Sequence[str] = (),
    changes: Sequence[str] = (),
    write: bool = True,
) -> Session:
    """Load the manifest and see what of it is done.

    Args:
        path: the manifest.
        until: the last step wanted; None for all.
        limit: rows of every source that count; None for all.
        refresh: steps whose models are trained anew if their data has changed.
        changes: what to set in the manifest, see `pipeline.manifest.changes`.
        write: whether the demo world is written that the manifest asks for.

    Raises:
        UserError: the manifest, a source or the output is wrong.
    """
    manifest = load_manifest(path, changes)
    _refuse_absent(path, manifest)
    store = Store.open(manifest.output)
    store.reach()
    before = graph_of(store, path, changes)
    notes = prepare(manifest.demo, write=write)
    digests = Digests(before.digests if before else None)
    if not notes:
        for name, source in manifest.sources.items():
            check(name, source)
    trained = Trained(store, before.graph if before else None, refresh)
    behind: dict[str, tuple[Part, ...]] = {}
    graph = _graph(manifest, store, digests, limit, trained, behind, looks=not notes)
    trained.check(graph)
    removed = absolute(manifest.removed)
    found = Session(
        graph=graph,
        store=store,
        plans=[],
        name=name_of(path, changes),
        manifest=digest_of(path, changes),
        uses=manifest.uses,
        removed=removed,
        demo=manifest.demo,
        digests=digests.asked,
        notes=tuple(notes),
        before=before.graph if before else None,
        path=location_of(path),
        behind=behind,
    )
    return found.until(until)


def _refuse_absent(path: Path, manifest: Manifest) -> None:
    """See that the models are there that are paths; those of the hub are looked for by who loads them."""
    told = [
        f"{path}: {step.section}.{field}: no folder or file '{name}' here; name one that is, or a hub name ('org/name')"
        for step in manifest.steps
        for field, name in absent_models(step.recipe)
    ]
    if told:
        raise UserError("\n".join(dict.fromkeys(told)))


def graph_alone(path: Path, changes: Sequence[str] = ()) -> tuple[Graph, Mapping[str, Use]]:
    """The graph of a manifest whose lists are not looked at, and what its sources are for.

    Raises:
        UserError: the manifest is wrong.
    """
    manifest = load_manifest(path, changes)
    return build_graph(manifest.steps, manifest.sources, lists=Lists(parts_of=lambda _name, _source: [])), manifest.uses


def open_output(target: str, changes: Sequence[str] = ()) -> Session:
    """What the latest run has left, of a manifest or in an output.

    Args:
        target: a manifest; an output, a local folder or an fsspec URL; or one of the graphs in it.
        changes: what to set in the manifest, see `pipeline.manifest.changes`.

    Raises:
        UserError: the manifest is wrong, or no run has been there, or there is no manifest to set anything in.
    """
    if is_manifest(target):
        return _of_manifest(Path(target).expanduser(), changes)
    _refuse_changes(target, changes)
    root, name = target.rstrip("/"), None
    if root.endswith(".json") and "/graphs/" in f"/{root}":
        root, _, file = root.rpartition("/graphs/")
        name = file.removesuffix(".json")
    store = Store.open(root)
    store.reach()
    found = [each for each in (stored_graph(store, one) for one in ([name] if name else stored_names(store))) if each]
    if not found:
        raise UserError(f"{target}: it is no manifest, and no run has left a graph there; name either")
    shown = max(found, key=lambda stored: stored.written)
    others = [f"{store.root}/graphs/{stored.name}.json" for stored in found if stored is not shown]
    told = (f"this is the run of {shown.name}; others that were here: {', '.join(others)}",) if others else ()
    return _of_stored(store, shown, told)


def removals_of(target: str, changes: Sequence[str] = ()) -> tuple[Store, str]:
    """The output that a manifest or an output means, and its removal list.

    Raises:
        UserError: there is no such output, or it has no list.
    """
    if is_manifest(target):
        manifest = load_manifest(Path(target).expanduser(), changes)
        store, removed = Store.open(manifest.output), absolute(manifest.removed)
    else:
        session = open_output(target, changes)
        store, removed = session.store, session.removed
    if removed is None:
        raise UserError(f"{target}: it has no removal list; add a line such as 'removed: removed.txt' to the manifest")
    return store, removed


def _refuse_changes(target: str, changes: Sequence[str]) -> None:
    if changes:
        raise UserError(f"{label(changes[0])}: {target} is an output; name the manifest, in which this can be set")


def _of_manifest(path: Path, changes: Sequence[str]) -> Session:
    store = Store.open(output_of(path, changes))
    store.reach()
    stored = graph_of(store, path, changes)
    if stored is None:
        return open_session(path, changes=changes, write=False)
    same = digest_of(path, changes) == stored.manifest
    told = f"{path} has changed since its run of {stored.written}, which this is of; `capfilt plan` says what is new"
    return _of_stored(store, stored, () if same else (told,))


def _of_stored(store: Store, stored: Stored, notes: tuple[str, ...]) -> Session:
    lists = Lists(listing_of=Listings(store), trained_on=Trained(store, stored.graph, ()))
    graph = as_now(stored.graph, lists)
    return Session(
        graph=graph,
        store=store,
        plans=plan(graph, store),
        name=stored.name,
        manifest=stored.manifest,
        uses=stored.uses,
        removed=stored.removed,
        digests=stored.digests,
        notes=notes,
        path=stored.path,
    )


def _graph(  # noqa: PLR0913, PLR0917 - what there is to know
    manifest: Manifest,
    store: Store,
    digests: Digests,
    limit: int | None,
    trained: Trained,
    behind: dict[str, tuple[Part, ...]],
    *,
    looks: bool,
) -> Graph:
    """The graph of a manifest; the files that are behind its limit go into `behind`."""

    def digest_of(source: SourceSettings, files: Files, folder: str) -> str:
        meant = json.dumps([source.identity(), source.chosen(), folder])
        return digests.of(files, meant, partial(digest, source, files, folder))

    def parts_of(name: str, source: Source) -> list[Part]:
        return find_parts(name, source, digest_of) if looks else []

    def up_to(node: Node) -> tuple[Part, ...]:
        parts = shown.up_to(limit, node)
        behind[node.name] = node.parts[len(parts) :]
        return parts

    shown = Listings(store)
    lists = Lists(parts_of, up_to, shown, trained, digests)
    return build_graph(manifest.steps, manifest.sources, manifest.removed, lists)


def write_session(session: Session) -> None:
    """Keep the graph in the output, and in every folder what its fingerprint stands for.

    Raises:
        UserError: the output cannot be written.
    """
    store, now = session.store, datetime.now(UTC).isoformat(timespec="seconds")
    graph = session.whole or session.graph
    stored = Stored(
        session.name, session.manifest, graph, session.uses, session.removed, session.digests, now, session.path
    )
    try:
        store_graph(store, stored)
        for node in session.graph.nodes.values():
            store.record_recipe(store.folder_of(node), {"source": node.source, "identity": node.identity})
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"output: {store.root} cannot be written ({reason}); name another folder") from None
