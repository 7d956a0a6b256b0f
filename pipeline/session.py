"""A manifest opened against its output folder: the graph, the store and the plan that every command starts from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.dag.graph import Graph, Node, build_graph
from pipeline.dag.listing import done_folder, read_listing
from pipeline.dag.plan import NodePlan, make_plan
from pipeline.dag.repaired import content_of
from pipeline.dag.steps import of_name
from pipeline.manifest.load import Manifest, load_manifest
from pipeline.store import Store
from stages.errors import UserError
from stages.urls.check import check


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
    graph = build_graph(manifest.steps, manifest.sources, manifest.removed, content_of=partial(content_of, store))
    graph = graph.until(until) if until else graph
    return Session(manifest, graph, store, plan(graph, store))


def plan(graph: Graph, store: Store) -> list[NodePlan]:
    """What is left of the graph, as the store shows it now."""
    committed, marked, shards, failed, earlier = {}, {}, {}, {}, {}
    for name, node in graph.nodes.items():
        folder = store.folder_of(node)
        committed[name] = frozenset(store.committed(done_folder(node, store)))
        marked[name] = store.marked(folder) if node.spec.writes == "images" else frozenset()
        earlier[name] = [] if committed[name] else _earlier(node, store)
        if node.spec.grain == "file" and node.source:
            parts = [part.name for part in node.parts]
            failed[name] = frozenset(store.failures(done_folder(node, store)))
            cut = [part for part in parts if part in committed[name]]
            tried = failed[name].union(cut) >= set(parts)
            shards[node.source] = read_listing(store, folder, cut) if tried else None
    return make_plan(graph, committed, marked, shards, failed, earlier)


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
