"""What an export may never replace, whoever asks for it: the output that it is made of, and what that was made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.dag.graph import Graph
from pipeline.store import Store
from stages.contract import model_fields, path_of
from stages.errors import UserError
from stages.io.files import absolute, is_url
from stages.io.places import why_no_place


def refuse_own(graph: Graph, store: Store, destination: str, manifest: str) -> None:
    """See that a destination is a place of its own.

    Args:
        graph: the manifest's.
        store: its output.
        destination: where the export shall go.
        manifest: what the command was given.

    Raises:
        UserError: nothing can be kept there, or what is there is needed.
    """
    if why := why_no_place(destination):
        raise UserError(f"{destination}: {why}")
    place, root = _real(destination), _real(store.root)
    if place == root or place.startswith(f"{root}/"):
        raise UserError(f"{destination} lies in the output {store.root}, which is no place for an export; name another")
    for what, path in [("the manifest", manifest), *_needed(graph)]:
        if place == _real(path):
            raise UserError(f"{destination} is {what}, which no export replaces; name another place")


def _needed(graph: Graph) -> Iterator[tuple[str, str]]:
    """What a manifest's results are made of: what it is, and where."""
    for node in graph.nodes.values():
        for part in node.parts:
            whole = [*part.source.paths, part.source.images_root] if part.source.images_root else part.source.paths
            yield from (("a list of the manifest's", path) for path in (*part.files, *whole))
        models = [name for _, name in model_fields(node.recipe) if (path := path_of(name)) and path.exists()]
        yield from (("a model of the manifest's", path) for path in models)
        if removed := getattr(node.run, "removed", None):
            yield "the removal list", removed


def _real(address: str) -> str:
    """An address of which there is no other spelling."""
    path = absolute(address.removeprefix("file://").removeprefix("local://"))
    return path.rstrip("/") if is_url(path) else str(Path(path).resolve())
