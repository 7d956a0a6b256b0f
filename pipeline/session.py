"""A manifest opened against its output folder: the graph, the store and the plan that every command starts from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dag.graph import Graph, Node, build_graph
from pipeline.dag.listing import done_folder, latest, listings, part_of, read_listing
from pipeline.dag.plan import NodePlan, make_plan
from pipeline.dag.steps import of_name
from pipeline.dag.verdicts import is_current
from pipeline.manifest.load import Manifest, load_manifest
from pipeline.store import Store
from stages.errors import UserError
from stages.urls.check import check
from stages.urls.parts import Part


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    manifest: Manifest
    graph: Graph
    store: Store
    plans: list[NodePlan]


def open_session(path: Path, until: str | None = None) -> Session:
    """Load the manifest and see what of it is done.

    Args:
        path: the manifest.
        until: the last stage wanted; None for all.

    Raises:
        UserError: the manifest, a source or the output is wrong.
    """
    manifest = load_manifest(path)
    if until is not None and not of_name(manifest.steps, until):
        known = ", ".join(step.name for step in manifest.steps)
        raise UserError(f"--until {until}: {path} has no such step; its steps are {known}")
    write_demo(manifest)
    for name, source in manifest.sources.items():
        check(name, source)
    store = Store.open(manifest.output)
    store.reach()
    graph = build_graph(manifest.steps, manifest.sources, manifest.removed, listing_of=Listings(store))
    graph = graph.until(until) if until else graph
    return Session(manifest, graph, store, plan(graph, store))


class Listings:
    """Which listing of a file counts, as the store shows it now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: dict[str, dict[str, str]] = {}

    def __call__(self, node: Node, part: Part) -> str:
        """The name of the listing; of a file that has not been cut, the name that it will have."""
        folder = done_folder(node, self._store)
        if folder not in self._latest:
            self._latest[folder] = latest(self._store.committed(folder))
        return self._latest[folder].get(part.name, part.name)


def plan(graph: Graph, store: Store) -> list[NodePlan]:
    """What is left of the graph, as the store shows it now."""
    committed, shards, failed, earlier = {}, {}, {}, {}
    for name, node in graph.nodes.items():
        committed[name] = _committed(node, store)
        earlier[name] = [] if committed[name] else _earlier(node, store)
        if node.spec.grain == "file" and node.source:
            failed[name] = frozenset(store.failures(done_folder(node, store)))
            tried = failed[name] | committed[name] >= {part.name for part in node.parts}
            counted = read_listing(store, store.folder_of(node), listings(node, store)) if tried else None
            shards[node.source] = None if counted is None else [found.shard for found in counted]
    return make_plan(graph, committed, shards, failed, earlier)


def _committed(node: Node, store: Store) -> frozenset[str]:
    """What of a node is there, and still holds."""
    found = store.committed(done_folder(node, store))
    if node.spec.grain == "file":
        return frozenset(map(part_of, found))
    if node.spec.grain == "source":  # rows may have come since, or gone
        return frozenset(name for name in found if is_current(store, node, name))
    return frozenset(found)


def _earlier(node: Node, store: Store) -> list[dict[str, Any]]:
    """The identities of what this stage computed for the same source under other fingerprints."""
    others = [found for found in store.fingerprints(node.spec.name) if found != node.fingerprint]
    recipes = [store.recipe(store.folder(node.spec.name, other)) for other in others]
    return [recipe["identity"] for recipe in recipes if recipe and recipe["source"] == node.source]


def write_recipes(session: Session) -> None:
    """Say in every folder what its fingerprint stands for; the first write also shows that the output can be written.

    Raises:
        UserError: it cannot.
    """
    try:
        for node in session.graph.nodes.values():
            folder = session.store.folder_of(node)
            session.store.record_recipe(folder, {"source": node.source, "identity": node.identity})
    except (PermissionError, NotADirectoryError, FileExistsError, OSError) as error:
        reason = error.strerror or str(error)
        raise UserError(f"output: {session.store.root} cannot be written ({reason}); name another folder") from None


def write_demo(manifest: Manifest) -> None:
    """Write the demo world that the manifest asks for, if it is not there yet."""
    demo = manifest.demo
    if demo is None:
        return
    from stages.demo.world import write

    base_url = f"http://127.0.0.1:{demo.port}"
    try:
        write(Path(demo.folder).expanduser(), images=demo.images, human=demo.human, seed=demo.seed, base_url=base_url)
    except OSError as error:
        raise UserError(f"demo.folder: {demo.folder} cannot be written: {error}") from None


@contextmanager
def demo_web(session: Session) -> Iterator[None]:
    """Serve the demo world while its images are still to be downloaded.

    Raises:
        UserError: the port is taken.
    """
    demo = session.manifest.demo
    downloads = [plan for plan in session.plans if plan.node.spec.writes == "images"]
    if demo is None or all(plan.is_done for plan in downloads):
        yield
        return
    from stages.demo.web_process import serve_apart

    with ExitStack() as web:
        try:
            web.enter_context(serve_apart(Path(demo.folder).expanduser(), port=demo.port))
        except OSError as error:
            raise UserError(f"demo.port: {error.strerror or error}; choose another port") from None
        yield
