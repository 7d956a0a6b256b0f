"""Whatever is killed, whenever: after the next run the tables are those of a run that nothing disturbed.

The whole main job on a small demo world, with the real command, the real models and a real Ray.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.torture.contents import contents
from tests.torture.processes import stage_workers

ROOT = Path(__file__).parents[3]
KILLS = 8
LONGEST = 600.0
"""Seconds that one run may take."""


def with_output(manifest: Path, output: Path) -> Path:
    content = yaml.safe_load(manifest.read_text()) | {"output": str(output)}
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def start(manifest: Path, executor: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli", "run", str(manifest), "--executor", executor]
    with manifest.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def finish(manifest: Path, executor: str) -> None:
    code = start(manifest, executor).wait(timeout=LONGEST)
    assert code == 0, manifest.with_suffix(".log").read_text()[-3000:]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_random_moments(manifest, tmp_path, ray_home):
    undisturbed = with_output(manifest, tmp_path / "undisturbed")
    started = time.monotonic()
    finish(undisturbed, "local")
    usual = time.monotonic() - started
    disturbed = with_output(manifest, tmp_path / "disturbed")
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}, a run takes {usual:.0f} s")
    for kill in range(KILLS):
        run = start(disturbed, "ray")
        time.sleep(rng.uniform(3, usual))
        if not kill % 2:
            workers = stage_workers(run.pid)
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.uniform(1, 5))
        run.send_signal(signal.SIGKILL)
        run.wait()
    finish(disturbed, "ray")
    expected, found = contents(str(tmp_path / "undisturbed")), contents(str(tmp_path / "disturbed"))
    assert list(found) == list(expected)
    for table, rows in expected.items():
        assert found[table] == rows, table
