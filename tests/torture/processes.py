"""The processes of a run, as /proc has them."""

from __future__ import annotations

from pathlib import Path


def children(process: int) -> list[int]:
    """All processes below `process`."""
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
    """The processes of the stages' actors below `process`."""
    return [child for child in children(process) if is_stage_worker(child)]


def is_stage_worker(process: int) -> bool:
    """Whether a process is that of a stage's actor."""
    return _command(process).startswith(b"ray::StageActor")


def raylets(process: int) -> list[int]:
    """The node managers of Ray below `process`."""
    return [child for child in children(process) if _command(child).partition(b"\0")[0].endswith(b"/raylet")]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
