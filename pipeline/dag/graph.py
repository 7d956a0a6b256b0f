"""Steps and sources -> the DAG: one node per step and source, each with its recipe, its inputs and its fingerprint.

A fingerprint is kept per (step, source), so that adding a source to a manifest leaves the others' captions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pipeline.dag.digests import Digests
from pipeline.dag.fingerprint import fingerprint, recipe_identity, stage_identity, with_absolute_paths
from pipeline.dag.steps import Step
from pipeline.dag.wiring import Wire, wire
from stages.contract import Recipe, RunOptions, StageSpec
from stages.io import files
from stages.kinds import KINDS
from stages.urls.parts import Part, find_parts
from stages.urls.spec import Source

ALL_OF_SOURCE = "all"
"""The one artifact of a source that was worked at once; it says of itself which rows were read."""


@dataclass(frozen=True)
class Node:
    """One step of one source, or, as `pretrain`, of all."""

    step: str
    """Its name, with the round."""
    spec: StageSpec
    source: str | None
    """None for one that reads several sources alike."""
    recipe: Recipe
    run: RunOptions
    reads: Mapping[str, tuple[str, ...]]
    """The names of the nodes that it reads, by role."""
    identity: Mapping[str, Any]
    """What is hashed into the fingerprint."""
    fingerprint: str
    parts: tuple[Part, ...] = ()
    """The files of a source, for the node that cuts them."""
    data: str = ""
    """What stands for the rows that it reads, where it reads all at once; of a model, for those that it was made of."""
    rows_now: str = ""
    """What stands for the rows as they are now."""

    @cached_property
    def name(self) -> str:
        """`caption/laion`, unique in the graph."""
        return self.step if self.source is None else f"{self.step}/{self.source}"

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of all nodes that it reads."""
        return tuple(dict.fromkeys(name for names in self.reads.values() for name in names))

    @property
    def is_model(self) -> bool:
        """Whether it is trained, and kept when its data changes."""
        return KINDS[self.spec.writes].is_model if self.spec.writes in KINDS else False

    @property
    def is_stale(self) -> bool:
        """Whether it is a model, and its data has changed since."""
        return self.data != self.rows_now

    @property
    def version(self) -> str:
        """What readers know it by: its fingerprint, and of what was made of all sources at once, the data."""
        return f"{self.fingerprint}/{self.data}" if self.spec.grain == "run" else self.fingerprint

    @property
    def whole(self) -> str:
        """The one artifact of a node that works all shards at once."""
        return self.data if self.spec.grain == "run" else ALL_OF_SOURCE

    @cached_property
    def parts_by_name(self) -> Mapping[str, Part]:
        """The files, by the name that each is worked under."""
        return {part.name: part for part in self.parts}

    def place(self, shard: str) -> str:
        """The file that is worked under this name, for messages; "" where a shard is no file."""
        part = self.parts_by_name.get(shard)
        return part.place if part else ""


@dataclass(frozen=True)
class Graph:
    """The nodes by name, every node after its inputs."""

    nodes: Mapping[str, Node]
    flagged: tuple[str, ...] = ()
    """Words that the views tag as offensive; no part of any fingerprint."""

    def of_step(self, name: str) -> list[Node]:
        """The nodes of one step, a source each; by the name of its section, those of all rounds."""
        steps = list(self.nodes.values())
        return [node for node in steps if node.step == name] or [
            node for node in steps if node.step.partition("@")[0] == name
        ]

    def writing(self, kind: str) -> list[Node]:
        """The nodes that write a kind."""
        return [node for node in self.nodes.values() if node.spec.writes == kind]

    @property
    def cuts(self) -> list[Node]:
        """The nodes that cut sources into shards."""
        return [node for node in self.nodes.values() if node.spec.grain == "file"]

    def cutting(self, source: str) -> Node:
        """The node that cuts a source into shards."""
        return next(node for node in self.cuts if node.source == source)

    def until(self, step: str) -> Graph:
        """The part of the graph that a step needs, itself included."""
        wanted = self.needed_by({node.name for node in self.of_step(step)})
        return replace(self, nodes={name: node for name, node in self.nodes.items() if name in wanted})

    def needed_by(self, names: Collection[str]) -> set[str]:
        """What some nodes need, directly or through others, themselves included."""
        wanted = set(names)
        for node in reversed(list(self.nodes.values())):
            if node.name in wanted:
                wanted.update(node.inputs)
        return wanted


@dataclass(frozen=True)
class Lists:
    """What is known of the sources' files."""

    parts_of: Callable[[str, Source], list[Part]] = find_parts
    """Finds the files of a source."""
    some_of: Callable[[Node], tuple[Part, ...]] = lambda node: node.parts
    """Says which of them count, of the node that cuts them."""
    listing_of: Callable[[Node, Part], str] = lambda _, part: part.name
    """Says which listing of a file counts; there are several where rows have been tried again."""
    trained_on: Callable[[Node], str | None] = lambda _: None
    """Says of a model what stands for the rows that it was made of; None where it has not been made."""
    digests: Digests = field(default_factory=Digests)
    """Of local models, as far as they are known."""


def build_graph(
    steps: Sequence[Step], sources: Mapping[str, Source], removed: str | None = None, lists: Lists | None = None
) -> Graph:
    """The DAG of a manifest.

    Args:
        steps: its steps.
        sources: its sources.
        removed: its removal list.
        lists: what is known of their files.

    Raises:
        UserError: a source names no file.
    """
    lists = lists or Lists()
    parts = {name: tuple(lists.parts_of(name, source)) for name, source in sources.items()}
    nodes: dict[str, Node] = {}
    for name, wired in wire(steps, {name: source.used for name, source in sources.items()}).wires.items():
        source = None if wired.source is None else sources[wired.source]
        own = parts[wired.source] if wired.source is not None and wired.step.spec.grain == "file" else ()
        node = _node(wired, source, own, nodes, removed, lists.digests)
        node = replace(node, parts=lists.some_of(node)) if own else node
        nodes[name] = _with_data(node, nodes, lists) if node.spec.at_once else node
    return Graph(nodes)


def as_now(graph: Graph, lists: Lists) -> Graph:
    """A graph of the same steps and files, with the rows that count now: another model stands in other results.

    Args:
        graph: as it was.
        lists: what is known of its files; they are not looked for anew.
    """
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        identity = {**node.identity, "inputs": _versions(node.spec, node.reads, nodes)}
        found = replace(node, identity=identity, fingerprint=fingerprint(identity))
        nodes[name] = _with_data(found, nodes, lists) if node.spec.at_once else found
    return replace(graph, nodes=nodes)


def _node(  # noqa: PLR0913, PLR0917 - what a node is made of
    wired: Wire,
    source: Source | None,
    parts: tuple[Part, ...],
    nodes: Mapping[str, Node],
    removed: str | None,
    digests: Digests,
) -> Node:
    step = wired.step
    values, run = recipe_identity(step.recipe, digests), step.run
    if source is not None and step.spec.grain == "file":
        values = {"source": wired.source, **source.identity()}  # how it is cut is no part of what a row is
    if source is not None and step.spec.placed is not None:
        places = {"images": absolute(source.images_root), "packed": source.packed, "removed": absolute(removed)}
        run = step.spec.placed.model_validate({**run.model_dump(), **places})
    identity = stage_identity(step.spec, values, _versions(step.spec, wired.reads, nodes))
    recipe = with_absolute_paths(step.recipe)
    return Node(step.name, step.spec, wired.source, recipe, run, wired.reads, identity, fingerprint(identity), parts)


def _versions(spec: StageSpec, reads: Mapping[str, tuple[str, ...]], nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """What a node's fingerprint knows of its inputs, by role."""
    beside = {role for role, port in spec.reads.items() if port.beside}
    return {role: [nodes[name].version for name in names] for role, names in reads.items() if role not in beside}


def _with_data(node: Node, nodes: Mapping[str, Node], lists: Lists) -> Node:
    """A node with what stands for the rows that it reads."""
    now = rows_of(node, nodes, lists.listing_of)
    before = lists.trained_on(node) if node.is_model else None
    return replace(node, data=before or now, rows_now=now)


def rows_of(node: Node, nodes: Mapping[str, Node], listing_of: Callable[[Node, Part], str]) -> str:
    """What stands for the rows that a node reads: the listings of all files of its sources."""
    sources = {nodes[name].source for name in node.inputs}
    cut = [found for found in nodes.values() if found.spec.grain == "file" and found.source in sources]
    return fingerprint({found.fingerprint: [listing_of(found, part) for part in found.parts] for found in cut})


def absolute(folder: str | None) -> str | None:
    """A folder or file as a worker with another working folder can find it."""
    return None if folder is None else files.absolute(folder)
