"""Three hosts, each in a network namespace of its own: a head that drives runs, and two that work for it.

    head 10.77.0.1, with the bridge  --  one 10.77.0.2
                                     --  two 10.77.0.3

No packet leaves them: they know no other network. All see the same files, as hosts with shared storage do.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.processes import is_stage_worker

NETWORK = "10.77.0"
PORT = 6379
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A host that is not heard of for about 4 s is dead to the others; by default it takes Ray about a minute."""
START_SECONDS = 240.0
RAY = str(Path(sys.executable).with_name("ray"))
"""Of the environment that this runs in, whatever is on the PATH."""


@dataclass
class Host:
    """One of them. What runs on it is one `ray start`, begun anew whenever it ends: a supervisor's work."""

    name: str
    """Of the namespace."""
    address: str
    arguments: tuple[str, ...]
    """Of `ray start`."""
    environment: Mapping[str, str]
    log: Path
    _ending: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep Ray up on it."""
        supervisor = threading.Thread(target=self._supervise, daemon=True)
        supervisor.start()
        try:
            yield
        finally:
            self._ending.set()
            self.kill()
            supervisor.join()

    def kill(self) -> None:
        """The power fails."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def worker(self) -> int:
        """A stage's worker on it.

        Raises:
            ProcessLookupError: there is none.
        """
        worker = next(filter(is_stage_worker, self._processes()), None)
        if worker is None:
            raise ProcessLookupError
        return worker

    def kill_worker(self) -> None:
        """Kill a stage's worker."""
        os.kill(self.worker(), signal.SIGKILL)

    def _processes(self) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return [int(process) for process in found.stdout.split()]

    def _supervise(self) -> None:
        ray = [RAY, "start", "--block", f"--node-ip-address={self.address}", *self.arguments]
        while not self._ending.is_set():
            with self.log.open("ab") as log:
                command = ["ip", "netns", "exec", self.name, *ray]
                subprocess.run(command, env={**os.environ, **self.environment}, stdout=log, stderr=log, check=False)
            self.kill()  # what the raylet has left behind
            self._ending.wait(0.5)


@dataclass(frozen=True)
class Hosts:
    """The three."""

    head: Host
    workers: tuple[Host, Host]

    @property
    def address(self) -> str:
        """Of the Ray cluster."""
        return f"{self.head.address}:{PORT}"

    def cut(self, host: Host, seconds: float) -> None:
        """Unplug a host for a while."""
        port = _port(host)
        _ip("-n", self.head.name, "link", "set", port, "down")
        time.sleep(seconds)
        _ip("-n", self.head.name, "link", "set", port, "up")


def _port(host: Host) -> str:
    """The name of a host's port on the bridge."""
    return f"port{host.address.rpartition('.')[2]}"


@contextmanager
def hosts(folder: Path, environment: Mapping[str, str]) -> Iterator[Hosts]:
    """Bring the hosts up, with Ray on them.

    Args:
        folder: for Ray's files and the hosts' logs.
        environment: of what runs on them.

    Raises:
        PermissionError: only root may make network namespaces.
    """
    mark = secrets.token_hex(2)
    environment = {**environment, **HEALTH}
    arguments = {
        "head": ("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"),
        "one": (f"--address={NETWORK}.1:{PORT}", "--num-cpus=1"),
        "two": (f"--address={NETWORK}.1:{PORT}", "--num-cpus=1"),
    }
    made = [
        Host(
            f"cf-{mark}-{name}",
            f"{NETWORK}.{number}",
            (*options, f"--temp-dir={folder}/{name}"),
            environment,
            folder / f"{name}.log",
        )
        for number, (name, options) in enumerate(arguments.items(), start=1)
    ]
    with ExitStack() as stack:
        for host in made:
            stack.enter_context(_namespace(host.name))
        _wire(made)
        for host in made:
            stack.enter_context(host.running())
        found = Hosts(made[0], (made[1], made[2]))
        _wait_for_ray(found, environment)
        yield found


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        raise PermissionError(f"only root may make network namespaces: {error.stderr.strip()}") from None
    try:
        yield
    finally:
        _ip("netns", "del", name)


def _wire(made: list[Host]) -> None:
    """A bridge on the head, and a cable from it to each of the others."""
    head = made[0]
    _ip("-n", head.name, "link", "add", "bridge", "type", "bridge")
    for host in made:
        _ip("-n", host.name, "link", "set", "lo", "up")
    for host in made[1:]:
        cable = ("link", "add", _port(host), "netns", head.name, "type", "veth", "peer", "name", "eth", "netns")
        _ip(*cable, host.name)
        _ip("-n", head.name, "link", "set", _port(host), "master", "bridge", "up")
    for host in made:
        device = "bridge" if host is head else "eth"
        _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", device)
        _ip("-n", host.name, "link", "set", device, "up")
        # Ray finds its own address by the route to a public one, to which it sends nothing
        _ip("-n", host.name, "route", "add", "default", "dev", device)


def _wait_for_ray(found: Hosts, environment: Mapping[str, str]) -> None:
    until = time.monotonic() + START_SECONDS
    command = ["ip", "netns", "exec", found.head.name, RAY, "status", f"--address={found.address}"]
    while time.monotonic() < until:
        told = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        ).stdout
        if "/2.0 CPU" in told:
            return
        time.sleep(0.5)
    logs = "\n".join(host.log.read_text(errors="replace")[-2000:] for host in (found.head, *found.workers))
    raise TimeoutError(f"Ray did not come up on {len(found.workers)} hosts, whose logs end so:\n{logs}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
