"""Whose turn it is: the requests of a shard by host, so that no host holds up the others.

Hosts take turns. Each has a bounded number of requests under way, and is paused where it says "later" (see `pace`);
what it said that to is asked for again. A redirect waits for the turn of the host that it leads to. A host that fails
again and again is not asked any more, nor one that says nothing but "later" for `patience` seconds: the rest of its
rows are refused at once. And nothing is begun after the shard's time is over.

Nothing here waits or looks at a clock: `now` is given, in seconds.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from stages.download import pace
from stages.download.pace import Pace
from stages.download.statuses import LaterError, RefusedError

NEVER: Final = float("inf")


@dataclass
class Request:
    """A row that is asked for, and how far it has come."""

    row: int
    url: str
    """Where it is asked for next: an address that `request_url` has passed."""
    left: float
    """Seconds: what is left of the time that its requests may take."""
    retries: int = 0
    """How many further attempts are left where one may help."""
    redirects: int = 0
    """How many it has followed."""
    laters: int = 0
    """How often it was told to come later."""
    waited: float = 0.0
    """The seconds that it was to wait for that, in all."""
    told: LaterError | None = None
    """What it was told the last time."""


@dataclass(frozen=True)
class Turn:
    """A request that may be made now, or is refused."""

    request: Request
    host: str
    begun: float
    refusal: RefusedError | None = None


@dataclass
class _Host:
    name: str
    pace: Pace
    patience: float
    new: deque[Request] = field(default_factory=deque)
    waiting: list[tuple[float, int, Request]] = field(default_factory=list)
    """Requests to be made again, by the time from which they may be (a heap)."""
    again: list[tuple[bool, int, int, Request]] = field(default_factory=list)
    """Those whose time has come: the most often told first, and last those that have waited long enough (a heap)."""
    again_pays: bool = False
    """Whether the last of them was told something else the second time."""
    was_new: bool = False
    running: int = 0
    failures: int = 0
    """Consecutive ones."""
    last_words: str = ""
    is_ready: bool = False
    wakes: float = NEVER
    """When it is looked at again."""

    def opens(self, now: float) -> float:
        """From when on a request of it may begin; `NEVER` if there is none, or if one has to end first."""
        if self.running >= self.pace.limit or not self.has_requests:
            return NEVER
        return max(self.pace.opens, now if self.new or self.again else self.waiting[0][0])

    @property
    def has_requests(self) -> bool:
        return bool(self.new or self.again or self.waiting)

    def pop(self, now: float) -> Request:
        """Its next request: before a new one those that were told to come later, unless that does not pay.

        For some pages say so for ever. While the host says nothing but "later" both take turns.
        """
        while self.waiting and (self.waiting[0][0] <= now or not (self.new or self.again)):
            _, number, request = heapq.heappop(self.waiting)
            heapq.heappush(self.again, (request.waited >= self.patience, -request.laters, number, request))
        is_agains = self.again_pays or (self.pace.is_refused and self.was_new)
        self.was_new = bool(self.new) and not (self.again and is_agains)
        return self.new.popleft() if self.was_new else heapq.heappop(self.again)[-1]


class Turns:
    """The requests that are left of a shard. To be called by one thread at a time.

    Args:
        requests: one for every row.
        threads: how many requests a host may have under way.
        failures: after so many failed rows in a row a host is not asked any more.
        patience: how long a host may say nothing but "later", and a row may be told to wait by a host that serves
            others, in seconds.
        seconds: the time within which a request may begin.
        now: when that time begins.
        on_change: called when a host is ready, or known to be ready later.
    """

    def __init__(  # noqa: PLR0913 - limits, each with its name
        self,
        requests: Iterable[Request],
        *,
        threads: int,
        failures: int,
        patience: float,
        seconds: float,
        now: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._threads = threads
        self._failures = failures
        self._patience = patience
        self._seconds = seconds
        self._end = now + seconds
        self._is_over = False
        self._on_change = on_change
        self._hosts: dict[str, _Host] = {}
        self._ready: deque[_Host] = deque()  # hosts whose next request may begin, each once
        self._asleep: list[tuple[float, str]] = []  # when to look at a host again (a heap)
        self._numbers = itertools.count()
        for request in requests:
            self._host(request.url).new.append(request)
        self._offer_all(now)

    def _host(self, url: str) -> _Host:
        name = host_of(url)
        if name not in self._hosts:
            self._hosts[name] = _Host(name, Pace(self._threads, self._patience), self._patience)
        return self._hosts[name]

    def deal(self, now: float) -> Turn | None:
        """The next turn; None if there is none before `wakes`, or before another turn is done."""
        if now >= self._end and not self._is_over:
            self._is_over = True
            self._offer_all(now)
        while self._asleep and self._asleep[0][0] <= now:
            at, name = heapq.heappop(self._asleep)
            if self._hosts[name].wakes == at:
                self._hosts[name].wakes = NEVER
                self._offer(self._hosts[name], now)
        while self._ready:
            host = self._ready.popleft()
            host.is_ready = False
            turn = self._turn(host, now)
            self._offer(host, now)
            if turn is not None:
                return turn
        return None

    @property
    def wakes(self) -> float:
        """When there may be a turn without another one being done."""
        return min(self._asleep[0][0] if self._asleep else NEVER, NEVER if self._is_over else self._end)

    def _turn(self, host: _Host, now: float) -> Turn | None:
        if self._opens(host, now) > now:
            return None  # it has been told to wait since it was ready
        request = host.pop(now)
        host.running += 1
        if self._is_refused(host):
            return Turn(request, host.name, now, self._refusal(host, request))
        host.pace.begin(now)
        return Turn(request, host.name, now)

    def done(self, turn: Turn, refusal: RefusedError | None, now: float) -> bool:
        """Say how a turn went; True if its row is done with, False if it will have another turn.

        Answers of any kind show a host that is up; silence and lost connections do not.
        """
        host = self._hosts[turn.host]
        comes_again = False
        if turn.refusal is None:
            comes_again = refusal is not None and self._comes_again(host, turn.request, refusal, now)
            _learn(host, turn, refusal, now, is_last=not comes_again)
        host.running -= 1
        self._offer(host, now)
        return not comes_again

    def moved(self, turn: Turn, url: str, now: float) -> None:
        """Say that a turn has led to another address, for which its row waits now."""
        host, request = self._host(url), turn.request
        self.done(turn, None, now)
        request.url = url
        request.redirects += 1
        request.laters, request.waited, request.told = 0, 0.0, None  # that was another host
        host.new.appendleft(request)
        self._offer(host, now)

    def stop(self, now: float) -> None:
        """Refuse whatever has not begun."""
        self._end = now
        self._on_change()

    def _comes_again(self, host: _Host, request: Request, refusal: RefusedError, now: float) -> bool:
        if isinstance(refusal, LaterError):
            return self._waits(host, request, refusal, now)
        if not refusal.passing or not request.retries:
            return False
        request.retries -= 1
        host.new.appendleft(request)
        return True

    def _waits(self, host: _Host, request: Request, later: LaterError, now: float) -> bool:
        """Let a request wait as long as it was told; False if that is longer than a row may wait.

        Where it is not told for how long: twice as long each time. It is not given up while the host says so to all,
        for then it is the host that is waited for.
        """
        request.laters += 1
        request.told = later
        left = self._patience - request.waited
        wait = max(later.wait or 0.0, min(pace.FIRST_PAUSE + request.waited, left))
        most = self._patience if host.pace.is_refused else left
        if wait > most or most <= 0 or now + wait > self._end:
            return False
        request.waited = min(request.waited + wait, self._patience)
        heapq.heappush(host.waiting, (now + wait, next(self._numbers), request))
        return True

    def _offer_all(self, now: float) -> None:
        for host in self._hosts.values():
            self._offer(host, now)

    def _offer(self, host: _Host, now: float) -> None:
        """Have a host's turn come when its next request may begin."""
        at = self._opens(host, now)
        if at <= now and not host.is_ready:
            host.is_ready = True
            self._ready.append(host)
            self._on_change()
        elif now < at < host.wakes:
            host.wakes = at
            heapq.heappush(self._asleep, (at, host.name))
            self._on_change()

    def _opens(self, host: _Host, now: float) -> float:
        if not host.has_requests:
            return NEVER
        return now if self._is_refused(host) else host.opens(now)

    def _is_refused(self, host: _Host) -> bool:
        return self._is_over or host.failures >= self._failures or host.pace.given_up

    def _refusal(self, host: _Host, request: Request) -> RefusedError:
        if request.told is not None:
            return request.told
        if self._is_over:
            return RefusedError("timeout", f"not begun: the shard's {self._seconds:g} s were over")
        if host.pace.given_up:
            return RefusedError("http_later", f"not asked: {host.name} went on to say: {host.last_words}")
        return RefusedError(
            "host_down", f"not asked: {host.name} failed {host.failures} times in a row, with: {host.last_words}"
        )


def _learn(host: _Host, turn: Turn, refusal: RefusedError | None, now: float, *, is_last: bool) -> None:
    """What a request that was made, the last one of its row or not, says of its host."""
    if refusal is not None:
        host.last_words = refusal.words
    if refusal is not None and refusal.status in ("timeout", "connection"):
        host.failures += is_last
        return
    host.failures = 0
    if turn.request.laters:
        host.again_pays = not isinstance(refusal, LaterError)
    if isinstance(refusal, LaterError):
        host.pace.later(turn.begun, now, wait=refusal.wait, of_host=refusal.of_host, running=host.running)
    else:
        host.pace.answered(turn.begun)


def host_of(url: str) -> str:
    """The host and, if it is none of the usual ones, the port of an address."""
    name = urlsplit(url).netloc.rpartition("@")[2].lower()
    return name.removesuffix(":80").removesuffix(":443")
