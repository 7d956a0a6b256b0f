"""Manifest -> the DAG: one node per stage and source, each with its recipe, its inputs and its fingerprint.

A fingerprint is kept per (stage, source), so that adding a source to a manifest leaves the others' captions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dag.fingerprint import fingerprint, recipe_identity, stage_identity, with_absolute_paths
from pipeline.manifest.document import Manifest
from stages.contract import Recipe, RunOptions, StageSpec
from stages.io import files
from stages.registry import STAGES
from stages.urls.parts import Part, find_parts
from stages.urls.spec import Source


@dataclass(frozen=True)
class Node:
    """One stage of one source, or, as `pretrain`, of all."""

    spec: StageSpec
    source: str | None
    """None for one that reads several sources alike."""
    recipe: Recipe
    run: RunOptions
    inputs: tuple[str, ...]
    """The names of the nodes that it reads."""
    identity: Mapping[str, Any]
    """What is hashed into the fingerprint."""
    fingerprint: str
    parts: tuple[Part, ...] = ()
    """The files of a source, for its `urls` node."""

    @property
    def name(self) -> str:
        """`caption/laion`, unique in the graph."""
        return self.spec.name if self.source is None else f"{self.spec.name}/{self.source}"

    def place(self, shard: str) -> str:
        """The file that is worked under this name, for messages; "" where a shard is no file."""
        return next((part.place for part in self.parts if part.name == shard), "")


@dataclass(frozen=True)
class Graph:
    """The nodes by name, every node after its inputs."""

    nodes: Mapping[str, Node]

    def of_stage(self, stage: str) -> list[Node]:
        """The nodes of one stage, a source each."""
        return [node for node in self.nodes.values() if node.spec.name == stage]

    def until(self, stage: str) -> Graph:
        """The part of the graph that `stage` needs, itself included."""
        wanted = self.needed_by({node.name for node in self.of_stage(stage)})
        return Graph({name: node for name, node in self.nodes.items() if name in wanted})

    def needed_by(self, names: Collection[str]) -> set[str]:
        """What some nodes need, directly or through others, themselves included."""
        wanted = set(names)
        for node in reversed(list(self.nodes.values())):
            if node.name in wanted:
                wanted.update(node.inputs)
        return wanted


ContentOf = Callable[[Mapping[str, Any], Sequence[Part]], list[str]]
"""(all else that is hashed of a source, its files) -> the digests that are hashed of them."""


def digests(_: Mapping[str, Any], parts: Sequence[Part]) -> list[str]:
    """The digests of files as they are."""
    return [part.digest for part in parts]


def build_graph(
    manifest: Manifest, parts_of: Callable[[str, Source], list[Part]] = find_parts, content_of: ContentOf = digests
) -> Graph:
    """The manifest's DAG.

    Args:
        manifest: what is to be computed.
        parts_of: finds a source's files.
        content_of: says which digests stand for them; what was cut before may have a say in it.

    Raises:
        UserError: a source names no file.
    """
    nodes: dict[str, Node] = {}
    for source_name, source in manifest.sources.items():
        parts = tuple(parts_of(source_name, source))
        for stage in manifest.chain(source_name):
            if stage in manifest.stages:
                node = _source_node(manifest, stage, source_name, parts, content_of, nodes)
                nodes[node.name] = node
    for spec in STAGES.values():
        if spec.scope in ("corpus", "training") and spec.name in manifest.stages:
            node = _corpus_node(manifest, spec, nodes)
            nodes[node.name] = node
    return Graph(nodes)


def _source_node(  # noqa: PLR0913, PLR0917 - what a node is made of
    manifest: Manifest,
    stage: str,
    source_name: str,
    parts: tuple[Part, ...],
    content_of: ContentOf,
    nodes: Mapping[str, Node],
) -> Node:
    source, spec, (recipe, run) = manifest.sources[source_name], STAGES[stage], manifest.stages[stage]
    wanted = ("annotate",) if stage == "select" and source.human else spec.inputs
    sources = _sources_up_to(source_name, stage, manifest) if spec.scope == "source" else (source_name,)
    inputs = tuple(found for of in sources for name in wanted if (found := f"{name}/{of}") in nodes)
    values = recipe_identity(recipe)
    if stage == "urls":
        values |= {"source": source_name, **source.identity()}
        values["content"] = content_of(values, parts)
    if stage == "download":
        places = {"images": absolute(source.images_root), "removed": absolute(manifest.removed)}
        run = run.model_copy(update=places | {"packed": source.packed})
    identity = stage_identity(spec, values, {name: nodes[name].fingerprint for name in inputs})
    recipe, own_parts = with_absolute_paths(recipe), parts if stage == "urls" else ()
    return Node(spec, source_name, recipe, run, inputs, identity, fingerprint(identity), own_parts)


def _sources_up_to(source: str, stage: str, manifest: Manifest) -> list[str]:
    """The sources that pass through a stage, up to and including one of them."""
    names = list(manifest.sources)
    return [name for name in names[: names.index(source) + 1] if stage in manifest.chain(name)]


def absolute(folder: str | None) -> str | None:
    """A folder or file as a worker with another working folder can find it."""
    return None if folder is None else files.absolute(folder)


def _corpus_node(manifest: Manifest, spec: StageSpec, nodes: Mapping[str, Node]) -> Node:
    recipe, run = manifest.stages[spec.name]
    sources = {None, *manifest.read_by(spec.name)}
    inputs = tuple(name for name, node in nodes.items() if node.spec.name in spec.inputs and node.source in sources)
    identity = stage_identity(spec, recipe_identity(recipe), {name: nodes[name].fingerprint for name in inputs})
    return Node(spec, None, with_absolute_paths(recipe), run, inputs, identity, fingerprint(identity))
