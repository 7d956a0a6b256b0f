"""The command, as anybody calls it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.real.places import MANIFEST, REPORT, ROOT, Trouble

CAPFILT = (sys.executable, "-m", "pipeline.cli")
FORMER, LATTER = "", "@1"
"""What stands behind the names of steps before the round, and in it."""


def run(*more: str) -> None:
    """Run the manifest, or what is left of it.

    Raises:
        Trouble: it did not end well; it has said why.
    """
    with subprocess.Popen([*CAPFILT, "run", str(MANIFEST), *more], cwd=ROOT) as command:
        while command.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # which it has got too, and leaves a checkpoint
                command.wait()
    if command.returncode:
        raise Trouble("capfilt run did not end well; the same command goes on")


def ask(sql: str) -> list[dict[str, Any]]:
    """The rows of a query.

    Raises:
        Trouble: it cannot be answered.
    """
    done = subprocess.run(
        [*CAPFILT, "query", str(MANIFEST), sql, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Trouble(f"capfilt query: {done.stderr.strip()}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def export(step: str) -> Path:
    """A model that the run has trained, as a folder.

    Raises:
        Trouble: there is none.
    """
    folder = REPORT / step
    command = [*CAPFILT, "export", str(MANIFEST), str(folder), "--to", "hf", "--step", step]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"capfilt export: {done.stderr.strip()}")
    return folder
