"""What runs under way say of themselves in the output, for `capfilt status` on any host.

<output>/runs/<host>-<process>.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from pipeline.root import Root
from stages.io.files import remove, write_whole

RUNS: Final = "runs"


def record_run(root: Root, name: str, state: Mapping[str, Any]) -> None:
    """Say how far a run is that is under way."""
    write_whole(f"{root.root}/{RUNS}/{name}.json", json.dumps(state, indent=1).encode())


def end_run(root: Root, name: str) -> None:
    """It is under way no more."""
    with suppress(FileNotFoundError):
        remove(f"{root.root}/{RUNS}/{name}.json")


def run_files(root: Root) -> list[str]:
    """The locations of what runs under way have said, and of what killed ones have left."""
    return [f"{root.root}/{RUNS}/{name}" for name in root.names(f"{root.root}/{RUNS}") if name.endswith(".json")]


def runs(root: Root) -> list[dict[str, Any]]:
    """What runs have said of themselves that have not come to their end.

    Raises:
        DamagedError: a file there says something else.
    """
    found = []
    for url in run_files(root):
        with suppress(FileNotFoundError):  # it has ended since
            found.append(root.read_json(url, "written", "process", "host", "started", "stages"))
    return found
