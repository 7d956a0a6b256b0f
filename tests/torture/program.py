"""A run of stub stages in a process of its own, through real executor, store and schedule.

It is called as `program OUT SHARDS STAGES FILES [ADDRESS]`. Its exit codes are those of `capfilt run`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from pipeline.dag.graph import Graph
from pipeline.execute.execution import RunLostError
from pipeline.execute.on_ray.executor import run_on_ray
from pipeline.execute.stop import Stopped, stop_at_sigterm
from pipeline.store import Store
from stages.contract import RunOptions
from stages.errors import UserError
from stages.io.outages import StorageLostError, patience
from tests.pipeline.stubs import SICK, StubRecipe, make_execution, make_graph

SECONDS = 0.15
"""How long a stub works on a shard."""
FILES = 2
"""Of the list that grows, in the end."""
GIVEN_UP = "given up:"
"""How a line begins that says what a run has done without, which no fault here is a reason for."""


def graph_of(shards: int, stages: Sequence[str], files: int = FILES) -> Graph:
    """Two sources, the same stages behind each, two workers a stage; of the first one so many files are there yet."""
    stub = StubRecipe(seconds=SECONDS, faults={SICK: "marked"}, folder=tempfile.gettempdir())
    run = RunOptions(cpus=0.05, actors=2)
    counts = {"a": [shards // 2 // FILES] * files, "b": [shards // 2]}
    return make_graph(counts, run, stages, download=stub, caption=stub, rank=stub, select=stub)


def main() -> int:
    """Run what is left."""
    output, shards, stages, files = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
    address = (sys.argv[5:] or [None])[0]
    stop_at_sigterm()
    execution = make_execution(graph_of(shards, stages, files), Store.open(output))
    try:
        with patience(print, execution.store.probe):
            run_on_ray(execution, lambda *_: None, address=address)
    except KeyboardInterrupt as stopped:
        return stopped.exit_code if isinstance(stopped, Stopped) else 130
    except (RunLostError, StorageLostError) as error:
        print(error)
        return 1
    except UserError as error:
        print(error)
        return 2
    nodes = execution.schedule.nodes.values()
    for state in nodes:
        for shard, error in state.failed.items():
            print(GIVEN_UP, shard, error)
        if state.stopped:
            print(GIVEN_UP, state.stopped)
    return 1 if any(state.failed or state.blocked for state in nodes) else 0 if execution.schedule.is_finished else 130


if __name__ == "__main__":
    sys.exit(main())
