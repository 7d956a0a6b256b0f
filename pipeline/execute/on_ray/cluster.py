"""The Ray that a run works on: how it is joined or started, what its nodes have, which of them are going."""

from __future__ import annotations

import logging
import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
from ray._private import services, state
from ray.job_config import JobConfig

from pipeline.execute.events import one_line
from pipeline.execute.execution import Execution, RunLostError
from stages.contract import GroupRunOptions, RunOptions
from stages.errors import UserError

NODES_NAMED: Final = 4
"""Nodes of which it is said what they have."""
USAGE_STATS: Final = "RAY_USAGE_STATS_ENABLED"
"""Ray's own variable: "1" has it send usage statistics, "0" not."""
OWN_FOLDER: Final = str(Path(__file__).parents[3])
"""Where capfilt's packages lie."""


class _OwnJob(JobConfig):
    """Has workers find capfilt where this process does, and nothing in the folder that the user stands in.

    Ray puts that folder first on their path (ray 2.60), so that a `pipeline.py` there would be taken for capfilt's own.
    """

    def _serialize(self) -> str:
        installed = OWN_FOLDER in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
        self._py_driver_sys_path = [] if installed else [OWN_FOLDER]
        serialized: str = super()._serialize()
        return serialized


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray to run on: the cluster at `address`, or one of this run's own on this machine.

    Raises:
        UserError: there is no cluster at `address`.
    """
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        with _asking_nobody():
            ray.init(
                address or "local", job_config=_OwnJob(), log_to_driver=False, logging_level=logging.ERROR, **options
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be reached there: {one_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _asking_nobody() -> Iterator[None]:
    """Have a Ray that is started meanwhile report to nobody, unless the environment says that it shall.

    Its API server asks two cloud metadata services where it runs as soon as it is up, whether usage statistics are on
    or not (ray 2.60). Without a dashboard that is all it does, so it is not started.
    """
    os.environ.setdefault(USAGE_STATS, "0")
    start = services.start_api_server
    if os.environ[USAGE_STATS] == "0":
        services.start_api_server = lambda *_, **__: (None, None)  # as where it fails to start, which Ray allows for
    try:
        yield
    finally:
        services.start_api_server = start


def _nodes() -> list[Mapping[str, float]]:
    """What each node that lives has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def draining_nodes() -> frozenset[str]:
    """The ids of the nodes that will soon be gone, to which Ray sends no new actors either."""
    return frozenset(state.state.get_draining_nodes())


def check_ray_lives() -> None:
    """See that Ray has a node left, without which it would wait for ever.

    Raises:
        RunLostError: it has none.
    """
    if not _nodes():
        raise RunLostError("all nodes of Ray are gone (out of memory, or killed); the same command goes on")


def check_room(execution: Execution) -> None:
    """See that every stage's worker fits on some node of a Ray that will not grow, and every group on all of them.

    Raises:
        UserError: one does not, and would wait for ever.
    """
    nodes = _nodes()
    for node in execution.graph.nodes.values():
        if execution.schedule.nodes[node.name].is_finished:
            continue
        for kind, wanted, key in (("CPU", node.run.cpus, "cpus"), ("GPU", node.run.gpus, "gpus")):
            most = max(resources.get(kind, 0) for resources in nodes)
            if wanted > most:
                where = f"{node.step}.run.{key}"
                raise UserError(
                    f"{where}: {wanted:g}, but this machine has {most:g}; set less, or name a cluster by --address"
                )
        room = sum(_fit(resources, node.run) for resources in nodes)
        if workers_of(node.run) > room:
            raise UserError(
                f"{node.step}.run.workers: {workers_of(node.run)}, but this machine has room for {room}; "
                "set less, or name a cluster by --address"
            )


def workers_of(run: RunOptions) -> int:
    """How many workers do one piece of a stage's work together."""
    return run.workers if isinstance(run, GroupRunOptions) else 1


def resources_of(run: RunOptions) -> dict[str, float]:
    """What one worker takes."""
    return {"CPU": run.cpus, "GPU": run.gpus} if run.gpus else {"CPU": run.cpus}


def _fit(has: Mapping[str, float], run: RunOptions) -> int:
    """How many workers a node has room for."""
    return min(int(has.get(kind, 0) / wanted + 1e-9) for kind, wanted in resources_of(run).items())


def wants(run: RunOptions) -> str:
    """What a stage waits for, in words."""
    gpus = f" and {run.gpus:g} GPUs" if run.gpus else ""
    if (workers := workers_of(run)) > 1:
        return f"no workers yet, since they are {workers} at once, and each takes {run.cpus:g} CPUs{gpus} of one node"
    return f"no worker yet, since each takes {run.cpus:g} CPUs{gpus} of one node"


def offers() -> str:
    """What the nodes have, in words."""
    nodes = _nodes()
    offered = ", ".join(f"{each.get('CPU', 0):g} CPUs and {each.get('GPU', 0):g} GPUs" for each in nodes[:NODES_NAMED])
    more = f" and {len(nodes) - NODES_NAMED} more" if len(nodes) > NODES_NAMED else ""
    return f"the nodes have {offered}{more}, partly taken; it begins when one has room"
