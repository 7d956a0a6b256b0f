"""A run on a server that stops answering for a while, and then answers again: a real one, behind a proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import fsspec
import pytest

from pipeline.execute.events import Event
from pipeline.execute.local import run_locally
from pipeline.execute.schedule import Schedule
from pipeline.store import Store
from stages.io.outages import StorageLostError, patience
from tests.pipeline.stubs import make_execution, make_graph
from tests.s3_server import S3Proxy


@pytest.fixture
def proxy(s3_server, s3_folder, monkeypatch) -> Iterator[S3Proxy]:
    """Between this test's clients, which ask once and no more, and the server."""
    clients = fsspec.get_filesystem_class("s3")
    with S3Proxy(s3_server.port) as between:
        for name, value in {**s3_server.environment(between.port), "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        clients.clear_instance_cache()
        monkeypatch.setattr(clients, "retries", 1)
        yield between
        clients.clear_instance_cache()


SAYS = {"busy": "503", "cut": "Connection"}


@pytest.mark.parametrize("fault", ["busy", pytest.param("cut", marks=pytest.mark.slow)])
def test_a_run_outlasts_it_and_says_why_it_waits(fault, proxy, s3_folder, monkeypatch):
    monkeypatch.setattr("stages.io.outages.FIRST_PAUSE", 0.1)
    graph = make_graph({"a": [3]}, stages=("urls", "caption"))
    execution = make_execution(graph, Store.open(s3_folder))
    said: list[str] = []
    events: list[Event] = []

    def listen(event: Event, schedule: Schedule) -> None:
        if event.kind == "done" and event.node == "caption/a" and not proxy.faults:
            proxy.fault = fault
            threading.Timer(0.8, lambda: setattr(proxy, "fault", "")).start()
        events.append(event)

    with patience(said.append, execution.store.probe):
        run_locally(execution, listen)
    assert proxy.faults > 1
    assert len(execution.schedule.nodes["caption/a"].done) == 3
    assert {event.kind for event in events} == {"started", "done"}
    assert SAYS[fault] in said[0]
    assert "Errno 22" not in said[0]
    assert said[-1] == ""


def test_one_that_lasts_ends_the_run_with_its_reason(proxy, s3_folder, monkeypatch):
    monkeypatch.setattr("stages.io.outages.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("stages.io.outages.PATIENCE", 0.3)
    execution = make_execution(make_graph({"a": [2]}, stages=("urls", "caption")), Store.open(s3_folder))

    def listen(event: Event, _: Schedule) -> None:
        if event.node == "caption/a":
            proxy.fault = "busy"

    with patience(print, execution.store.probe), pytest.raises(StorageLostError, match="503"):
        run_locally(execution, listen)
    assert not any(state.failed for state in execution.schedule.nodes.values())
