"""The command, as anybody calls it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.places import MANIFEST, ROOT, Trouble

FORMER, LATTER = "", "@1"
"""What stands behind the names of steps before the round, and in it."""


@dataclass(frozen=True)
class Capfilt:
    """The manifest, with other values where `--set` says so."""

    output: Path
    """Where its results lie."""
    changes: Sequence[str] = ()
    """`STEP.KEY=VALUE`."""

    @property
    def report(self) -> Path:
        """Where what is told of it is kept."""
        return self.output.with_name(f"{self.output.name}-report")

    def run(self) -> None:
        """Run the manifest, or what is left of it.

        Raises:
            Trouble: it did not end well; it has said why.
        """
        with subprocess.Popen(self._command("run", "--executor", "local"), cwd=ROOT) as command:
            while command.poll() is None:
                with contextlib.suppress(KeyboardInterrupt):  # which it has got too, and leaves a checkpoint
                    command.wait()
        if command.returncode:
            raise Trouble("capfilt run did not end well; the same command goes on")

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query.

        Raises:
            Trouble: it cannot be answered.
        """
        rows: list[dict[str, Any]] = json.loads(self._said("query", sql, "--json"))
        return rows

    def export(self, step: str) -> Path:
        """A model that the run has trained, as a folder.

        Raises:
            Trouble: there is none.
        """
        folder = self.report / step
        self._said("export", str(folder), "--to", "hf", "--step", step)
        return folder

    def _command(self, name: str, *more: str) -> list[str]:
        changes = (f"output={self.output}", *self.changes)
        sets = [word for change in changes for word in ("--set", change)]
        return [sys.executable, "-m", "pipeline.cli", name, str(MANIFEST), *more, *sets]

    def _said(self, name: str, *more: str) -> str:
        done = subprocess.run(self._command(name, *more), cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"capfilt {name}: {done.stderr.strip()}")
        return done.stdout
