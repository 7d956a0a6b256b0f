"""Where an output may lie, and what can go wrong there, as context managers that end by themselves."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from tests.pipeline.stubs import mark_sick
from tests.s3_server import BUCKET, Fault, S3Proxy, S3Server
from tests.torture.hosts import hosts

ROOT = Path(__file__).parents[2]
HARM = 1.5
"""Seconds for which a disk is full or a server misbehaves."""
OUTAGE = "s3 outage"
LASTS = 120.0
"""Seconds of it, all of which a run waits."""
DEAD = 8.0
"""Seconds after which a host that is cut off has long been given up; when it is back it must join anew."""


@dataclass(frozen=True)
class Place:
    """An output folder and the faults of what it lies on."""

    output: str
    faults: Mapping[str, Callable[[], None]]
    """By name; each does its harm and takes it back."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What a run needs to get there."""
    host: str = ""
    """The network namespace in which a run is driven; "" for none."""
    cluster: str = ""
    """The address of the Ray cluster that a run uses; "" for one of its own."""


@contextmanager
def disk(folder: Path) -> Iterator[Place]:
    """A plain folder."""
    yield Place(str(folder / "out"), {})


@contextmanager
def small_disk(folder: Path) -> Iterator[Place]:
    """A filesystem of its own that is full now and then.

    Raises:
        PermissionError: only root may mount one.
    """
    mounted = folder / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError("only root may mount a filesystem")

    def fill() -> None:
        ballast = mounted / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
        except OSError:
            time.sleep(HARM)
        ballast.unlink()

    try:
        yield Place(str(mounted / "out"), {"no space left": fill})
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@contextmanager
def object_store(folder: Path) -> Iterator[Place]:
    """A bucket behind a proxy."""
    with S3Server(folder / "s3") as server, S3Proxy(server.port) as proxy:

        def misbehave(fault: Fault, seconds: float = HARM) -> Callable[[], None]:
            def do() -> None:
                proxy.fault = fault
                time.sleep(seconds)
                proxy.fault = ""

            return do

        faults: tuple[Fault, ...] = ("cut", "refuse", "slow", "busy")
        named = {f"s3 {fault}": misbehave(fault) for fault in faults} | {OUTAGE: misbehave("busy", LASTS)}
        yield Place(f"s3://{BUCKET}/{folder.name}", named, server.environment(proxy.port))


@contextmanager
def several_hosts(folder: Path) -> Iterator[Place]:
    """A plain folder, shared by the hosts of a Ray cluster.

    Raises:
        PermissionError: only root may make network namespaces.
    """
    environment = {"RAY_AUTH_MODE": "token", "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    with hosts(folder, {**environment, "PYTHONPATH": str(ROOT)}) as found:
        turns = cycle(found.workers)
        faults = {
            "host cut off": lambda: found.cut(next(turns), DEAD),
            "host cut off briefly": lambda: found.cut(next(turns), HARM),
            "host killed": lambda: next(turns).kill(),
            "worker on a host killed": lambda: next(turns).kill_worker(),
            "worker on a host sick": lambda: mark_sick(folder / "tmp", next(turns).worker()),
        }
        yield Place(str(folder / "out"), faults, environment, found.head.name, found.address)


PLACES = {"disk": disk, "small disk": small_disk, "s3": object_store, "hosts": several_hosts}
