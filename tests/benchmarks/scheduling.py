"""What the run itself costs: milliseconds per shard, for shards whose stages do nothing.

    python tests/benchmarks/scheduling.py [--shards 2000] [--steps 4] [--left 500] [--executor ray|local]

Prints the time per shard of one stage and of the whole chain, and its ratio to the same number of bare commits (the
part of it that is the file system's). The bar: at most 10 ms per shard of a stage, and 1 GB for the driver.

A whole run of 40,000 shards and 15 steps takes an hour. With `--left` all shards but the last ones are there already:
links to one table a step, side files and all, under the names that a run would have given them. The driver then holds
the schedule of the whole graph while it works those that are left.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import PARTS, listing_table
from pipeline.dag.there import plan
from pipeline.execute.execution import Execution
from pipeline.execute.local import run_locally
from pipeline.execute.on_ray.cluster import ray_session
from pipeline.execute.on_ray.executor import RayRun
from pipeline.store import Store
from stages.contract import Output, RunOptions
from stages.urls.known import Counted
from tests.pipeline.stubs import long_chain, make_execution, make_graph

BARE = 500
"""Commits that are timed alone."""
ATTEMPT = "0" * 12
"""That of all tables that are laid down."""
EMPTY = pa.table({"key": ["a"] * 3, "value": [0] * 3})
"""A table as the stubs write them."""


def main() -> None:
    """Run the chain once and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--left", type=int, help="shards that are worked; default all")
    parser.add_argument("--executor", choices=("ray", "local"), default="ray")
    options = parser.parse_args()
    left = options.shards if options.left is None else options.left
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        os.environ.setdefault("RAY_TMPDIR", f"{folder}/ray")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        run(Path(folder), options.shards, options.steps, left, options.executor)


def run(folder: Path, shards: int, steps: int, left: int, executor: str) -> None:  # one argument for each option
    """Time the bare commits, then the plan, then the run, then the plan of what is finished."""
    graph = make_graph({"a": [shards]}, RunOptions(cpus=0.1), chain=long_chain(steps))
    bare = time_commits(Store.open(str(folder / "bare")), BARE)
    store = Store.open(str(folder / "out"))
    lay_down(graph, store, shards, shards - left)
    print(f"{shards} empty shards x {steps} steps, the last {left} of each to be worked on {executor}", flush=True)
    with Timer("plan and schedule"):
        execution = make_execution(graph, store)
    with Timer("the run") as timer:
        (time_local if executor == "local" else time_ray)(execution, timer)
    each, own = (1000 * seconds / left / steps for seconds in (timer.seconds, timer.own))
    print(f"per shard and step: {each:.2f} ms ({own:.2f} ms of the driver's CPU); all steps: {each * steps:.2f} ms")
    print(f"a bare commit: {1000 * bare:.2f} ms; ratio {each / (1000 * bare):.2f}")
    with Timer("plan of the finished run"):
        assert all(found.is_done for found in plan(graph, store))
    print(f"the driver's {peak()}")


class Timer:
    """Prints how long a block has taken, and how much the machine had to do besides."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Self:
        self.begin()
        return self

    def begin(self) -> None:
        """Count from now on."""
        self._started, self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Count no further."""
        self.seconds, self.own = time.perf_counter() - self._started, time.process_time() - self._began

    def __exit__(self, *_: object) -> None:
        if not hasattr(self, "seconds"):
            self.stop()
        load = f"load of the machine {os.getloadavg()[0]:.1f}"
        print(f"{self._name}: {self.seconds:.2f} s, {self.own:.2f} s of this process's CPU; {load}", flush=True)


def peak() -> str:
    """The most memory that this process has had, in words."""
    return f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"


def lay_down(graph: Graph, store: Store, shards: int, done: int) -> None:
    """Cut the source, and finish the first shards of every step, without a run."""
    cutting, *others = graph.nodes.values()
    (part,) = cutting.parts
    names = [f"{part.file}-{index:05d}" for index in range(shards)]
    link(store, cutting, EMPTY.select(["key"]), names, side=False)
    listing = listing_table(Counted(name, EMPTY.num_rows) for name in names)
    store.commit(f"{store.folder_of(cutting)}/{PARTS}", part.name, Output(listing), {})
    for node in others:
        link(store, node, EMPTY, names[:done], side=True)


def link(store: Store, node: Node, table: pa.Table, names: list[str], *, side: bool) -> None:
    """Put a table, and a side file if wanted, under the names of shards."""
    folder = Path(store.folder_of(node))
    folder.mkdir(parents=True)
    own, beside = folder.parent / "table", folder.parent / "side"
    pq.write_table(table.replace_schema_metadata({"attempt": ATTEMPT}), own, compression="zstd")
    beside.write_text("x")
    for name in names:
        os.link(own, folder / f"{name}.parquet")
        if side:
            os.link(beside, folder / f"{name}.{ATTEMPT}.txt")


def time_commits(store: Store, count: int) -> float:
    """Seconds per commit of an empty table with a side file, as the stubs write them."""
    side = Path(store.root).parent / "side"
    side.write_text("x")
    started = time.perf_counter()
    for index in range(count):
        store.commit(store.folder("bare", "00"), f"a-{index:05d}", Output(EMPTY, sides={"txt": side}), {})
    return (time.perf_counter() - started) / count


def time_local(execution: Execution, timer: Timer) -> None:
    """Time the run in this process."""
    timer.begin()
    run_locally(execution, lambda *_: None)


def time_ray(execution: Execution, timer: Timer) -> None:
    """Time the run on a Ray that is already up."""
    with ray_session(None):
        timer.begin()
        RayRun(execution, lambda *_: None).run()
        timer.stop()


if __name__ == "__main__":
    main()
