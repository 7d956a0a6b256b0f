"""`ray job submit -- capfilt run …`, as on a cluster: a head with its job server, and a client that sees HTTP only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from picture_web import serving

from pipeline.session import open_session
from tests.ports import free_port

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
"""Where this environment's commands are."""


@pytest.fixture
def environment(ray_home: Path) -> Iterator[Mapping[str, str]]:
    """A running head, and what a client needs in its environment to submit to it."""
    own = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token"}
    own.pop("RAY_ADDRESS", None)
    dashboard = free_port()
    options = {
        "--port": free_port(),
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": free_port(),
        "--ray-client-server-port": free_port(),
        "--dashboard-host": "127.0.0.1",
        "--num-cpus": 2,
    }
    command = [BIN / "ray", "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=true"]
    command += [f"{name}={value}" for name, value in options.items()]
    with (ray_home / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=own, stdout=log, stderr=log)
    try:
        wait_for(dashboard)
        yield {**own, "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    finally:
        head.terminate()
        head.wait(60)


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    ends = time.monotonic() + 120
    while True:
        with socket.socket() as client:
            if not client.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < ends, f"nobody listens at port {port}"
        time.sleep(0.1)


def submit(environment: Mapping[str, str], folder: Path, until: str) -> subprocess.CompletedProcess[str]:
    """Submit a run as a job; again while the job server does not answer yet."""
    command = ["capfilt", "run", "m.yaml", "--address", "auto", "--until", until]
    submitted = [BIN / "ray", "job", "submit", "--working-dir", folder, "--", *command]
    ends = time.monotonic() + 120
    while True:
        done = subprocess.run(submitted, env=environment, capture_output=True, text=True, timeout=200, check=False)
        said = done.stdout + done.stderr
        starting = "Failed to connect" in said or "No available agent" in said
        if not starting or time.monotonic() > ends:
            return done
        time.sleep(1)


def test_a_submitted_run_works_on_the_cluster_and_its_end_is_the_jobs(environment, tmp_path):
    job, data = tmp_path / "job", tmp_path / "data"
    job.mkdir()
    data.mkdir()
    with serving() as web:
        rows = [f"{web.url(f'/{number}')},picture {number}" for number in range(6)]
        (data / "list.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
        manifest = f"""\
output: {data / "out"}
sources: {{web: {{format: csv, path: {data / "list.csv"}}}}}
urls: {{shard_size: 2}}
download: {{image_size: 32, allow_addresses: [127.0.0.1], run: {{actors: 1, cpus: 0.5}}}}
caption: {{model: nowhere/model}}
rank: {{model: nowhere/model}}
select: {{itm_threshold: null}}
"""
        (job / "m.yaml").write_text(manifest)
        with ThreadPoolExecutor() as pool:
            done, wrong = pool.map(partial(submit, environment, job), ("download", "nowhere"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "download: 3 of 3 shards done" in done.stdout
    assert "done: 4 shards in" in done.stdout
    plans = open_session(job / "m.yaml", until="download").plans
    assert [len(plan.done) for plan in plans] == [1, 3]
    assert wrong.returncode == 1
    assert "--until nowhere: there is no such step; the steps are urls, download, annotate" in wrong.stdout
