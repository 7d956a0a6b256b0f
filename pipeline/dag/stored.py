"""The graph of a run, kept in its output, so that whoever reads needs neither the manifest nor the lists.

<output>/graphs/<manifest>.json

An output may be moved or copied. Then the manifest that a graph names has no claim on it any more, and what lay within
the output that was, such as the removal list, is looked for within the one that is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pipeline.dag.graph import Graph, Node
from pipeline.store import Store
from stages.contract import Use
from stages.errors import UserError
from stages.io.files import is_there, write_whole
from stages.registry import STAGES
from stages.urls.parts import Part
from stages.urls.spec import Source

GRAPHS: Final = "graphs"
_ENDING: Final = ".json"
_PLAIN: Final = ("step", "source", "reads", "identity", "fingerprint", "data", "rows_now")
"""What of a node is JSON as it is."""
_OF_PART: Final = {
    each.name: None if each.default is MISSING else each.default
    for each in fields(Part)
    if each.name not in {"source", "source_name"}
}
"""What of a file is JSON as it is, and what stands for it where it is not written."""
_SOURCE: Final[TypeAdapter[Any]] = TypeAdapter(Source)


@dataclass(frozen=True)
class Stored:
    """What a run left of its manifest."""

    name: str
    """The manifest's, without its ending."""
    manifest: str
    """The sha256 of its text."""
    graph: Graph
    uses: Mapping[str, Use]
    removed: str | None
    """fsspec URL of the removal list."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of lists and models, see `pipeline.dag.digests`."""
    written: str = ""
    """When, in UTC."""
    path: str = ""
    """Where the manifest lies on the host that ran it; "" where nobody can tell."""


def store_graph(store: Store, stored: Stored) -> None:
    """Keep a graph in the output; that of an earlier run of the manifest goes.

    Raises:
        OSError: the output cannot be written.
    """
    content = {
        "output": store.root,
        "path": stored.path,
        "manifest": stored.manifest,
        "written": stored.written,
        "uses": dict(stored.uses),
        "removed": stored.removed,
        "digests": dict(stored.digests),
        "flagged": stored.graph.flagged,
        "nodes": [_as_json(node) for node in stored.graph.nodes.values()],
    }
    write_whole(f"{store.root}/{GRAPHS}/{stored.name}{_ENDING}", json.dumps(content).encode())


def stored_names(store: Store) -> list[str]:
    """The manifests of which runs have left a graph."""
    names = store.names(f"{store.root}/{GRAPHS}")
    return [name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING)]  # a temporary file's ends in digits


def stored_graph(store: Store, name: str) -> Stored | None:
    """The graph that a run of a manifest left, None where none has.

    Raises:
        UserError: it cannot be read.
    """
    url = f"{store.root}/{GRAPHS}/{name}{_ENDING}"
    if not is_there(url):
        return None
    try:
        found = _as_it_lies_now(store, store.read_json(url))
        nodes = [_node(values) for values in found["nodes"]]
        rest = {key: found[key] for key in ("path", "manifest", "uses", "removed", "digests", "written")}
        graph = Graph({node.name: node for node in nodes}, tuple(found["flagged"]))
        return Stored(name=name, graph=graph, **rest)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{url} cannot be read ({reason}); delete it, and `capfilt run` with the manifest writes it anew"
        ) from None


def _as_it_lies_now(store: Store, found: dict[str, Any]) -> dict[str, Any]:
    """What was stored, of an output that may have been moved or copied since."""
    before = found["output"]
    if _is_same_place(before, store.root):
        return found
    removed = _within(store, before, found["removed"])
    nodes = [
        {**node, "run": {**node["run"], "removed": _within(store, before, node["run"]["removed"])}}
        if "removed" in node["run"]
        else node
        for node in found["nodes"]
    ]
    return {**found, "path": "", "removed": removed, "nodes": nodes}


def _within(store: Store, before: str, place: str | None) -> str | None:
    """Where a file lies now that lay within the output when that was elsewhere; any other one lies where it lay."""
    if place is None or not place.startswith(f"{before}/"):
        return place
    return f"{store.root}{place[len(before) :]}"


def _is_same_place(one: str, other: str) -> bool:
    """Whether two names are those of one folder, which a link may give it."""
    return one == other or (Path(one).is_dir() and Path(other).is_dir() and os.path.samefile(one, other))  # noqa: PTH121


def _as_json(node: Node) -> dict[str, Any]:
    own = {name: getattr(node, name) for name in _PLAIN}
    settings = {name: getattr(node, name).model_dump(mode="json") for name in ("recipe", "run")}
    return {**own, "stage": node.spec.name, **settings, **_parts_as_json(node.parts)}


def _parts_as_json(parts: Sequence[Part]) -> dict[str, Any]:
    """Files as they are stored: what they share once, and of each what is not usual."""
    if not parts:
        return {"list": None, "parts": []}
    own = [
        {name: value for name, usual in _OF_PART.items() if (value := getattr(part, name)) != usual} for part in parts
    ]
    return {"list": parts[0].source.model_dump(mode="json"), "parts": own}


def _node(values: Mapping[str, Any]) -> Node:
    spec = STAGES[values["stage"]]
    return Node(
        step=values["step"],
        spec=spec,
        source=values["source"],
        recipe=spec.recipe.model_validate_json(json.dumps(values["recipe"])),
        run=(spec.placed or spec.run).model_validate_json(json.dumps(values["run"])),
        reads={role: tuple(names) for role, names in values["reads"].items()},
        identity=values["identity"],
        fingerprint=values["fingerprint"],
        parts=_parts(values["list"], values["source"], values["parts"]),
        data=values["data"],
        rows_now=values["rows_now"],
    )


def _parts(settings: Mapping[str, Any] | None, name: str, found: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    source = _SOURCE.validate_json(json.dumps(settings)) if found else None
    return tuple(
        Part(**{**part, "source_name": name, "source": source, "files": tuple(part["files"])}) for part in found
    )
