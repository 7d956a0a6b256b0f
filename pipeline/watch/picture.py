"""The steps of a manifest as a picture, in Mermaid, which GitHub and many editors draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.dag.graph import Graph, Node
from stages.contract import Use


def mermaid(graph: Graph, uses: Mapping[str, Use]) -> str:
    """A flow chart: the sources by what they are for, the steps, and on each arrow the kind of what passes."""
    nodes = list(graph.nodes.values())
    lines = ["flowchart LR", *_sources(nodes, uses), *dict.fromkeys(_steps(nodes)), *dict.fromkeys(_arrows(graph))]
    return "\n".join(lines)


def _sources(nodes: list[Node], uses: Mapping[str, Use]) -> Iterator[str]:
    cuts = list(dict.fromkeys(node.step for node in nodes if node.spec.grain == "file"))
    for number, use in enumerate(dict.fromkeys(uses.values())):
        names = ", ".join(name for name, own in uses.items() if own == use)
        yield f'    source{number}[("{names}<br><i>{use}</i>")]'
        yield from (f"    source{number} --> {_id(cut)}" for cut in cuts)


def _steps(nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        left, right = ("([", "])") if node.is_model else ("[", "]")
        stage = "" if node.spec.name == node.step.partition("@")[0] else f"<br><i>{node.spec.name}</i>"
        yield f'    {_id(node.step)}{left}"{node.step}{stage}"{right}'


def _arrows(graph: Graph) -> Iterator[str]:
    for node in graph.nodes.values():
        for before in (graph.nodes[name] for name in node.inputs):
            yield f"    {_id(before.step)} -- {before.spec.writes} --> {_id(node.step)}"


def _id(step: str) -> str:
    """A name that Mermaid takes for one, and for no word of its own."""
    return f"step_{step.replace('@', '_').replace('-', '_')}"
