"""Looking names up within a bounded time.

`getaddrinfo` cannot be interrupted, and a dead name server holds it for as long as the system's resolver likes. So it
runs in threads of its own, one per name, and a download waits for the answer as long as it may. Names are looked up
once per resolver, that is once per shard.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ipaddress
import socket
import threading
from typing import Final, TypeAlias

Lookup: TypeAlias = "concurrent.futures.Future[list[str]]"

MAX_LOOKUPS: Final = 64
"""Names that are looked up at once; a stuck lookup keeps its place until the system gives it up."""


class Resolver:
    """Addresses of hosts. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lookups: dict[str, Lookup] = {}
        self._lock = threading.Lock()
        self._places = threading.Semaphore(MAX_LOOKUPS)

    def __call__(self, host: str, seconds: float) -> list[str]:
        """The addresses of a host, in the system's order of preference.

        Raises:
            TimeoutError: no answer within `seconds`.
            OSError: the name has no address (`socket.gaierror`).
            ValueError: it is no name (`UnicodeError` mostly).
            RuntimeError: no thread can be started to look it up.
        """
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        lookup, is_new = self._lookup(host)
        if is_new:
            self._start(host, lookup, seconds)
        try:
            return lookup.result(seconds)
        except concurrent.futures.TimeoutError:
            raise TimeoutError(f"no answer from the name server within {seconds:.1f} s") from None

    def _lookup(self, host: str) -> tuple[Lookup, bool]:
        with self._lock:
            is_new = host not in self._lookups
            return self._lookups.setdefault(host, concurrent.futures.Future()), is_new

    def _start(self, host: str, lookup: Lookup, seconds: float) -> None:
        if not self._places.acquire(timeout=seconds):
            self._give_up(host, lookup, TimeoutError("too many names are being looked up"))
            return
        try:
            threading.Thread(target=self._look_up, args=(host, lookup), name="lookup", daemon=True).start()
        except RuntimeError as error:  # the system lends no further thread
            self._places.release()
            self._give_up(host, lookup, error)

    def _give_up(self, host: str, lookup: Lookup, error: Exception) -> None:
        """Tell those who wait; who asks later has it looked up anew."""
        with self._lock:
            del self._lookups[host]
        lookup.set_exception(error)

    def _look_up(self, host: str, lookup: Lookup) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            lookup.set_result(list(dict.fromkeys(str(address[0]) for *_, address in found)))
        except Exception as error:  # noqa: BLE001 - nothing is swallowed: it is raised where the answer is waited for
            lookup.set_exception(error)
        finally:
            self._places.release()
