"""Stage computes that one can hold in one's head, for tests of the run itself."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.dag.fingerprint import fingerprint, stage_identity
from pipeline.dag.graph import Graph, Node, rows_of
from pipeline.dag.there import plan
from pipeline.execute.execution import Execution
from pipeline.execute.schedule import Schedule
from pipeline.execute.stop import Stop
from pipeline.store import Store
from stages import stopping
from stages.contract import CorpusJob, Grain, GroupRunOptions, Output, Port, Recipe, RunOptions, Shard, StageSpec
from stages.errors import UserError
from stages.io.files import write_whole
from stages.stopping import StoppedError
from stages.urls.damage import Damage
from stages.urls.known import Known
from stages.urls.parts import Part

HERE = "tests.pipeline.stubs"
GO = "go"
"""The file in a recipe's folder for which its shards wait."""
PATIENCE = 120.0
"""Seconds that they wait."""


class StubRecipe(Recipe):
    """How a stub misbehaves: shard name -> how; `folder` counts attempts across processes."""

    value: int = 0
    faults: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    folder: str = ""
    seconds: float = 0.0


class Cut:
    """A file whose name says how many shards it becomes: `3.txt`."""

    def __init__(self, recipe: StubRecipe, run: RunOptions) -> None:
        self._recipe = recipe

    def __call__(self, part: Part, damage: Damage, known: Known) -> Iterator[tuple[str, pa.Table]]:
        misbehave(self._recipe, part.file)
        for index in range(int(Path(part.files[0]).stem)):
            name = f"{part.file}-{index:05d}"
            misbehave(self._recipe, name)
            yield name, pa.table({"key": [f"{name}-{row}" for row in range(3)]})


class Double:
    """Adds the stage's value to what its inputs say."""

    def __init__(self, recipe: StubRecipe, run: RunOptions) -> None:
        fault = recipe.faults.get("setup")
        if fault == "user_error" or (fault == "user_error_first" and is_first(recipe)):
            raise UserError("caption.model: no folder 'nowhere'; give a local folder or a hub name")
        if fault == "raise":
            raise ValueError("no kernel image is available")
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self._recipe = recipe

    def __call__(self, shard: Shard) -> Output:
        be_sick(self._recipe)
        time.sleep(self._recipe.seconds)
        misbehave(self._recipe, shard.name)
        tables = [artifact.table() for artifacts in shard.inputs.values() for artifact in artifacts]
        total = sum(table.column("value")[0].as_py() for table in tables if "value" in table.column_names)
        side = shard.scratch / "note"
        side.write_text(f"{shard.name} {total}")
        rows = {"key": tables[0].column("key"), "value": [total + self._recipe.value] * tables[0].num_rows}
        return Output(pa.table(rows), sides={"txt": side}, counts={"images": 1})


class Compare:
    """Adds the stage's value to what its source and those above it were downloaded as."""

    def __init__(self, recipe: StubRecipe, run: RunOptions) -> None:
        self._recipe = recipe

    def __call__(self, work: CorpusJob) -> Output:
        misbehave(self._recipe, "corpus")
        total = sum(shard.one("images").table()["value"][0].as_py() for shard in work.corpus)
        return Output(pa.table({"value": [total + self._recipe.value]}))


class Gather:
    """Adds the stage's value to what all shards of all its sources say together, and to the results that it reads."""

    def __init__(self, recipe: StubRecipe, run: RunOptions) -> None:
        self._recipe = recipe

    def __call__(self, work: CorpusJob) -> Output:
        misbehave(self._recipe, "corpus")
        tables = [shard.one("selection").table() for shard in work.corpus]
        tables += [result.artifact.table() for result in work.results.values()]
        assert all(isinstance(result.recipe, StubRecipe) for result in work.results.values())
        total = sum(table.column("value")[0].as_py() for table in tables)
        shards = [f"{shard.source}/{shard.shard}" for shard in work.corpus]
        return Output(pa.table({"value": [total + self._recipe.value], "shards": [shards]}))


class Together(Gather):
    """As `Gather`, but a group does it, each of whom leaves its rank beside the checkpoints."""

    def __call__(self, work: CorpusJob) -> Output:
        if not list(Path(work.checkpoints).glob("*-0")):
            self.train(work)
        return super().__call__(work)

    def train(self, work: CorpusJob, *, rank: int = 0, world_size: int = 1, device: str | None = None) -> None:
        write_whole(f"{work.checkpoints}/{world_size}-{rank}", b"")
        if self._recipe.faults.get("group") == "stop" and is_first(self._recipe):
            while not stopping.is_asked():
                time.sleep(0.02)
            raise StoppedError("stopped")
        if rank == world_size - 1:
            misbehave(self._recipe, "group")


def misbehave(recipe: StubRecipe, shard: str) -> None:
    """Do to this shard what the recipe says, and count the attempt."""
    fault = recipe.faults.get(shard)
    if fault is None:
        return
    counter = Path(recipe.folder) / f"{shard}.attempts"
    with counter.open("a") as file:
        file.write("x")
    attempt = counter.stat().st_size
    if fault == "raise" or (fault == "raise_once" and attempt == 1):
        raise ValueError(f"{shard} is bad")
    if fault == "kill" or (fault == "kill_once" and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang" or (fault == "hang_once" and attempt == 1):
        time.sleep(600)
    if fault == "wait":
        wait_for(Path(recipe.folder) / GO)
    if fault == "user_error":
        raise UserError(f"{shard}: line 3 has one field, it needs two")


SICK = "workers"
"""The fault that is a worker's: the `first` one has it, `all` have, or those that somebody has `marked` so."""


def mark_sick(folder: Path, process: int) -> None:
    """Have a process fail from now on."""
    (folder / f"sick.{process}").touch()


def be_sick(recipe: StubRecipe) -> None:
    """Fail at once if this process's disk is full."""
    fault = recipe.faults.get(SICK)
    if fault is None:
        return
    if fault == "marked":
        if (Path(recipe.folder) / f"sick.{os.getpid()}").exists():
            raise OSError(errno.ENOSPC, "No space left on device", recipe.folder)
        return
    if fault == "all" or is_first(recipe):
        raise OSError(errno.ENOSPC, "No space left on device", tempfile.gettempdir())


def is_first(recipe: StubRecipe) -> bool:
    """Whether this process is the first one that has asked."""
    mark = Path(recipe.folder) / "first"
    with suppress(FileExistsError), mark.open("x") as file:
        file.write(str(os.getpid()))
    return mark.read_text() == str(os.getpid())


def wait_for(path: Path) -> None:
    """Until somebody makes this file."""
    ends = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < ends, f"nobody has made {path}"
        time.sleep(0.02)


def spec(name: str, compute: str, writes: str, *reads: str, grain: Grain = "shard") -> StageSpec:
    """A stub's declaration: what it writes and reads, by kind."""
    ports = {kind: Port(kind) for kind in reads}
    return StageSpec(name, 1, ports, writes, StubRecipe, RunOptions, f"{HERE}:{compute}", grain=grain)


CHAIN = (
    spec("urls", "Cut", "urls", grain="file"),
    spec("download", "Double", "images", "urls"),
    spec("caption", "Double", "captions", "urls", "images"),
    spec("rank", "Double", "similarities", "images", "captions"),
    spec("select", "Double", "selection", "captions", "similarities"),
)
STAGES = tuple(found.name for found in CHAIN)


def long_chain(steps: int) -> tuple[StageSpec, ...]:
    """A stage that cuts, and `steps` more, each of which reads the two before it."""
    kinds = ["urls", *(f"step{number:02d}" for number in range(1, steps + 1))]
    made = (spec(kinds[at], "Double", kinds[at], *kinds[max(at - 2, 0) : at]) for at in range(1, steps + 1))
    return (CHAIN[0], *made)


COMPARE = spec("compare", "Compare", "duplicates", "images", grain="source")
"""A stage that every shard of its source waits for."""

LAST = (
    spec("learn", "Gather", "qformer", "selection", grain="run"),
    spec("judge", "Gather", "retrieval", "selection", "qformer", grain="run"),
)
"""Stages that read all shards at once; the second one reads the first one's result too."""


def with_last_stages(graph: Graph, group: GroupRunOptions | None = None, **recipes: StubRecipe) -> Graph:
    """The graph with two more stages, each of which reads all shards at once; with `group`, several workers do it."""
    nodes = dict(graph.nodes)
    options = group or next(iter(nodes.values())).run
    for declared in LAST:
        found = replace(declared, compute=f"{HERE}:Together", workers="group") if group else declared
        recipe = recipes.get(found.name, StubRecipe())
        reads = {kind: tuple(name for name, node in nodes.items() if node.spec.writes == kind) for kind in found.reads}
        nodes[found.name] = _node(found, None, recipe, options, reads, nodes)
    return Graph(nodes)


def with_compare(graph: Graph, **recipes: StubRecipe) -> Graph:
    """The graph with a stage between `download` and `caption` that works a source, and those above it, at once."""
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        reads = dict(node.reads)
        if node.spec.name == "caption":
            recipe = recipes.get("compare", StubRecipe())
            above = tuple(before for before in nodes if before.startswith("download/"))
            found = _node(COMPARE, node.source, recipe, node.run, {"images": above}, nodes)
            nodes[found.name] = found
        if node.spec.name in {"caption", "rank"}:
            reads["duplicates"] = (f"compare/{node.source}",)
        nodes[name] = (
            node if node.spec.name == "urls" else _node(node.spec, node.source, node.recipe, node.run, reads, nodes)
        )
    return Graph(nodes)


def _node(
    found: StageSpec,
    source: str | None,
    recipe: Recipe,
    run: RunOptions,
    reads: Mapping[str, tuple[str, ...]],
    nodes: Mapping[str, Node],
    values: Mapping[str, Any] | None = None,
    parts: tuple[Part, ...] = (),
) -> Node:
    """A node whose faults are no part of its identity, so that a run without them goes on where one with them was."""
    assert isinstance(recipe, StubRecipe)
    before = {role: [nodes[name].version for name in names] for role, names in reads.items()}
    identity = stage_identity(found, {"value": recipe.value, **(values or {})}, before)
    node = Node(found.name, found, source, recipe, run, reads, identity, fingerprint(identity), parts)
    rows = rows_of(node, nodes, lambda _, part: part.name) if found.at_once else ""
    return replace(node, data=rows, rows_now=rows)


def make_graph(
    sources: dict[str, list[int]],
    run: RunOptions | None = None,
    stages: Sequence[str] | None = None,
    chain: Sequence[StageSpec] = CHAIN,
    **recipes: StubRecipe,
) -> Graph:
    """A graph of stubs.

    Args:
        sources: every source is a list of files, each by the number of its shards.
        run: how all stages are run.
        stages: those of the chain that are there; None for all. One that has lost all its inputs reads the one before.
        chain: the stages of a source, in order.
        recipes: by stage.
    """
    nodes: dict[str, Node] = {}
    options = run or RunOptions(cpus=0.1)
    chain = [found for found in chain if stages is None or found.name in stages]
    for source, counts in sources.items():
        parts = tuple(make_part(source, index, count) for index, count in enumerate(counts))
        for place, found in enumerate(chain):
            recipe = recipes.get(found.name, StubRecipe())
            above = {each.writes: (f"{each.name}/{source}",) for each in chain[:place]}
            reads = {kind: names for kind, names in above.items() if kind in found.reads}
            reads = reads or dict(list(above.items())[-1:])
            cuts = found.grain == "file"
            values = {"source": source} if cuts else {}
            node = _node(found, source, recipe, options, reads, nodes, values, parts if cuts else ())
            nodes[node.name] = node
    return Graph(nodes)


def whole(graph: Graph, *nodes: str) -> set[str]:
    """The one artifact of each of these nodes, which work all shards at once."""
    return {graph.nodes[name].whole for name in nodes}


def part_names(graph: Graph, source: str) -> list[str]:
    """Under what names the files of a source are cut."""
    return [part.name for part in graph.nodes[f"urls/{source}"].parts]


def make_execution(graph: Graph, store: Store) -> Execution:
    """What is left of a graph, to be run."""
    return Execution(graph, store, Schedule(graph, plan(graph, store)), Stop(print))


def make_part(source: str, index: int, count: int) -> Part:
    """A file that becomes `count` shards."""
    from stages.urls.spec import CsvSource

    files = (f"{count}.txt",)
    return Part(
        file=f"{source}-{index:05d}",
        source_name=source,
        source=CsvSource(format="csv", path="x"),
        files=files,
        digest="",
    )
