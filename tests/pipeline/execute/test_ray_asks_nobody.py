"""A Ray that a run starts reports to nobody, and asks no metadata service where it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private import services

from pipeline.execute.on_ray.cluster import USAGE_STATS, ray_session


@pytest.mark.parametrize(("said", "found"), [(None, "0"), ("0", "0"), ("1", "1")])
def test_statistics_are_off_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: str | None, found: str
) -> None:
    before, during = services.start_api_server, []
    monkeypatch.setenv(USAGE_STATS, said or "")
    if said is None:
        monkeypatch.delenv(USAGE_STATS)
    monkeypatch.setattr(
        ray, "init", lambda *_, **__: during.append((os.environ[USAGE_STATS], services.start_api_server))
    )
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(None):
        pass
    ((statistics, start),) = during
    assert statistics == found
    assert (start is before) == (found == "1")
    assert found == "1" or start(False, False, "127.0.0.1", "x", "x", "x", "x", "x", "x") == (None, None)
    assert services.start_api_server is before


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_no_process_of_ray_connects_to_a_metadata_service(tmp_path: Path, ray_home: Path) -> None:
    program = """
import time
from pipeline.execute.on_ray.cluster import ray, ray_session
with ray_session(None):
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    time.sleep(5)
"""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-s", "200", "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", program], check=True, timeout=200)
    calls = trace.read_text(errors="replace")
    assert re.search(r"connect\(\d+, .*127\.0\.0\.1", calls)  # so the trace shows what it is to show
    assert "169.254.169.254" not in calls
    assert "metadata" not in calls  # in a question to a name server
