"""What the run itself costs: milliseconds per shard, for shards whose stages do nothing.

    python tests/benchmarks/scheduling.py [--shards 2000] [--executor ray|local]

Prints the time per shard of one stage and of the whole chain, and its ratio to the same number of bare commits (the
part of it that is the file system's). The bar: at most 10 ms per shard of a stage.
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

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.execute.execution import Execution
from pipeline.execute.local import run_locally
from pipeline.execute.on_ray.cluster import ray_session
from pipeline.execute.on_ray.executor import RayRun
from pipeline.store import Store
from stages.contract import Output, RunOptions
from tests.pipeline.stubs import make_execution, make_graph


def main() -> None:
    """Run the chain once and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--executor", choices=("ray", "local"), default="ray")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        os.environ.setdefault("RAY_TMPDIR", f"{folder}/ray")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        run(Path(folder), options.shards, options.executor)


def run(folder: Path, shards: int, executor: str) -> None:
    """Time the bare commits, then the run."""
    graph = make_graph({"a": [shards]}, RunOptions(cpus=0.1))
    stages = len(graph.nodes) - 1
    bare = time_commits(Store.open(str(folder / "bare")), shards)
    store = Store.open(str(folder / "out"))
    # the source is cut first, so that the clock runs over the stages alone
    cut = graph.until("urls")
    run_locally(make_execution(cut, store), lambda *_: None)
    execution = make_execution(graph, store)
    seconds = time_local(execution) if executor == "local" else time_ray(execution)
    each = 1000 * seconds / shards / stages
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{shards} empty shards x {stages} stages on {executor}: {seconds:.1f} s")
    print(f"per shard and stage: {each:.2f} ms; per shard through all stages: {each * stages:.2f} ms")
    print(f"a bare commit: {1000 * bare:.2f} ms; ratio {each / (1000 * bare):.2f}")
    print(f"driver's peak memory: {peak:.0f} MiB")


def time_commits(store: Store, count: int) -> float:
    """Seconds per commit of an empty table with a side file, as the stubs write them."""
    side = Path(store.root).parent / "side"
    side.write_text("x")
    table = pa.table({"key": ["a"] * 3, "value": [0] * 3})
    started = time.perf_counter()
    for index in range(count):
        store.commit(store.folder("bare", "00"), f"a-{index:05d}", Output(table, sides={"txt": side}), {})
    return (time.perf_counter() - started) / count


def time_local(execution: Execution) -> float:
    """Seconds of the run in this process."""
    started = time.perf_counter()
    run_locally(execution, lambda *_: None)
    return time.perf_counter() - started


def time_ray(execution: Execution) -> float:
    """Seconds of the run on a Ray that is already up."""
    with ray_session(None):
        started = time.perf_counter()
        RayRun(execution, lambda *_: None).run()
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
