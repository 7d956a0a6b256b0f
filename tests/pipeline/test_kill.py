"""Whatever is killed, whenever: after the next run the tables are those of a run that nothing disturbed.

The whole main job on a small demo world, with the real command, the real models and a real Ray.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
import yaml

from stages.shards import Artifact

ROOT = Path(__file__).parents[2]
KILLS = 4
LONGEST = 600.0
"""Seconds that one run may take."""


def with_output(manifest: Path, output: Path) -> Path:
    content = yaml.safe_load(manifest.read_text()) | {"output": str(output)}
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content))
    return path


def start(manifest: Path, executor: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli", "run", str(manifest), "--executor", executor]
    with manifest.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def finish(manifest: Path, executor: str) -> None:
    code = start(manifest, executor).wait(timeout=LONGEST)
    assert code == 0, manifest.with_suffix(".log").read_text()[-3000:]


def children(process: int) -> list[int]:
    """All processes below `process`, as /proc has them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    below = parents.get(process, [])
    return below + [found for child in below for found in children(child)]


def stage_workers(process: int) -> list[int]:
    """The processes of the stages' actors."""
    found = []
    for child in children(process):
        try:
            name = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith(b"ray::StageActor"):
            found.append(child)
    return found


def contents(output: Path) -> dict[str, tuple[list[dict], dict[str, str]]]:
    """Of every committed table its rows, but how fast a training was, and the hash of its side files."""
    found = {}
    for path in sorted(output.glob("*/*/*.parquet")):
        artifact = Artifact(str(path))
        sides = {}
        for ending in ("tar", "safetensors"):
            if f"side.{ending}" in artifact.metadata():
                with fsspec.open(artifact.side(ending), "rb") as file:
                    sides[ending] = hashlib.sha256(file.read()).hexdigest()
        table = artifact.table()
        repeated = [name for name in table.column_names if name != "images_per_second"]
        found[str(path.relative_to(output))] = (table.select(repeated).to_pylist(), sides)
    return found


@pytest.mark.ray
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
        if kill % 2:
            workers = stage_workers(run.pid)
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.uniform(1, 5))
        run.send_signal(signal.SIGKILL)
        run.wait()
    finish(disturbed, "ray")
    expected, found = contents(tmp_path / "undisturbed"), contents(tmp_path / "disturbed")
    assert list(found) == list(expected)
    for table, rows in expected.items():
        assert found[table] == rows, table
