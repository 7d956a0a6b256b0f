"""Whose turn it is, on a clock of the test's own: what a host that says "later" is asked, and what the others are."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.download.statuses import LaterError, RefusedError
from stages.download.turns import NEVER, Request, Turns, host_of

Server = Callable[[str, float], RefusedError | None]
"""What is answered to a URL at a time."""
LATENCY = 0.05


@dataclass
class Crawl:
    """What came of a shard on the test's clock."""

    statuses: dict[int, str] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    ended: dict[int, float] = field(default_factory=dict)

    @property
    def count(self) -> Counter[str]:
        return Counter(self.statuses.values())


def crawl(urls: list[str], server: Server, *, patience: float = 60, seconds: float = 1800, threads: int = 64) -> Crawl:
    """Work a shard with so many threads, each answer after `LATENCY`."""
    requests = [Request(row, url, patience) for row, url in enumerate(urls)]
    turns = Turns(requests, threads=16, failures=10, patience=patience, seconds=seconds, now=0.0)
    done, now, numbers = Crawl(), 0.0, itertools.count()
    under_way: list[tuple] = []
    while True:
        while len(under_way) < threads and (turn := turns.deal(now)) is not None:
            answer = turn.refusal or server(turn.request.url, now)
            takes = 0.0 if turn.refusal else LATENCY
            if not turn.refusal:
                done.asked.append((now, turn.request.url))
            heapq.heappush(under_way, (now + takes, next(numbers), turn, answer))
        if len(done.statuses) == len(urls):
            assert not under_way
            return done
        # a thread that is free waits no longer than the turns say
        now = max(now, min(under_way[0][0] if under_way else NEVER, turns.wakes if len(under_way) < threads else NEVER))
        assert now < NEVER
        while under_way and under_way[0][0] <= now:
            _, _, turn, answer = heapq.heappop(under_way)
            if turns.done(turn, answer, now):
                row = turn.request.row
                assert row not in done.statuses
                done.statuses[row] = answer.status if answer else "success"
                done.words[row] = answer.words if answer else ""
                done.ended[row] = now


def later(wait: float | None = None, *, of_host: bool = True) -> LaterError:
    return LaterError("HTTP 429 Too Many Requests", wait=wait, of_host=of_host)


def allows(count: int, per: float = 1.0, wait: float | None = None) -> Server:
    """A host that answers so many requests in any span of so many seconds."""
    recent: deque[float] = deque()

    def answer(_: str, now: float) -> RefusedError | None:
        while recent and now - recent[0] > per:
            recent.popleft()
        if len(recent) >= count:
            return later(wait)
        recent.append(now)
        return None

    return answer


def on(host: str, count: int) -> list[str]:
    return [f"http://{host}/{number}" for number in range(count)]


@pytest.mark.parametrize("wait", [1.0, None])
def test_a_host_that_allows_ten_a_second_gives_all_and_is_not_hammered(wait: float | None) -> None:
    done = crawl(on("a", 40), allows(10, wait=wait))
    assert done.count == {"success": 40}
    assert len(done.asked) <= 50
    times = [time for time, _ in done.asked]
    assert max(sum(time <= other < time + 1 for other in times) for time in times[16:]) <= 12
    assert max(done.ended.values()) < 10


@pytest.mark.parametrize(
    ("count", "per", "rows", "most"), [(2, 1.0, 40, 60), (100, 60.0, 300, 350), (30, 1.0, 300, 320)]
)
def test_other_rates_are_found_too(count: int, per: float, rows: int, most: int) -> None:
    done = crawl(on("a", rows), allows(count, per))
    assert done.count == {"success": rows}
    assert len(done.asked) <= most


@pytest.mark.parametrize(
    ("wait", "most"), [(None, 23), (1.0, 23), (0.0, 23), (3600.0, 20), (1e9, 20), (float("inf"), 20)]
)
def test_a_host_that_says_later_for_ever_is_given_up_when_patience_is(wait: float | None, most: int) -> None:
    done = crawl(on("a", 500) + on("b", 50), lambda url, _: later(wait) if "a/" in url else None)
    assert done.count == {"http_later": 500, "success": 50}
    assert sum("a/" in url for _, url in done.asked) <= most
    assert max(done.ended[row] for row in range(500, 550)) < 1  # the others were not held up
    assert 59 < max(done.ended.values()) < 61
    assert done.words[499] == "not asked: a went on to say: HTTP 429 Too Many Requests"


def test_nothing_is_asked_of_a_host_in_its_pause() -> None:
    said: list[float] = []

    def answer(url: str, now: float) -> RefusedError | None:
        if now < 12 and int(url[-1]) % 2:
            said.append(now)
            return later(5.0)
        return None

    done = crawl(on("a", 60), answer)
    assert done.count == {"success": 60}
    assert len(set(said)) > 1
    for time in said:
        assert not [other for other, _ in done.asked if time + LATENCY < other < time + LATENCY + 5.0]


def test_pauses_grow_where_a_host_names_none() -> None:
    done = crawl(on("a", 1) * 20, lambda *_: later())
    times = sorted({time for time, _ in done.asked})
    assert [round(b - a - LATENCY) for a, b in itertools.pairwise(times)] == [1, 2, 4, 8, 16, 29]


def test_a_host_is_asked_less_at_once_and_recovers() -> None:
    def at_once(done: Crawl, since: float, until: float) -> int:
        times = [time for time, _ in done.asked if since <= time < until]
        return max(sum(time <= other < time + LATENCY for other in times) for time in times)

    done = crawl(on("a", 1000), lambda _, now: later() if now < 0.1 else None)
    assert done.count == {"success": 1000}
    assert at_once(done, 0, 0.1) == 16
    assert at_once(done, 1, 2) <= 2
    assert at_once(done, 1, 1000) >= 8


def test_a_page_that_always_says_later_costs_its_neighbours_nothing() -> None:
    """A 503 may be one page's own; so may a wait that no crawler would wait for."""
    for answer in (later(of_host=False), later(1e9)):
        done = crawl(on("a", 400), lambda url, _, answer=answer: answer if url.endswith("7") else None)
        assert done.count == {"success": 360, "http_later": 40}
        assert max(done.ended[row] for row in range(400) if row % 10 != 7) < 60


@pytest.mark.parametrize(("rows", "times"), [(5, 3), (40, 1), (40, 3)])
def test_a_host_that_says_later_to_everybody_at_first_gives_all(rows: int, times: int) -> None:
    asked: Counter[str] = Counter()

    def answer(url: str, _: float) -> RefusedError | None:
        asked[url] += 1
        return later() if asked[url] <= times else None

    assert crawl(on("a", rows), answer).count == {"success": rows}


def test_an_outage_shorter_than_the_patience_loses_nothing() -> None:
    for until, lost in ((50, 0), (70, 1)):
        done = crawl(on("a", 500), lambda _, now, until=until: later(of_host=False) if 0.5 < now < until else None)
        assert bool(done.count["http_later"]) == bool(lost)


@pytest.mark.parametrize(("wait", "most"), [(10.0, 8), (None, 8), (35.0, 2), (36.0, 1), (1e9, 1)])
def test_a_row_is_not_waited_for_longer_than_the_patience(wait: float | None, most: int) -> None:
    urls = [f"http://a/{number}" for number in range(1000)]  # a thread takes 50 s for them
    answer = later(wait, of_host=False)
    done = crawl(urls, lambda url, _: answer if url == urls[0] else None, patience=35, threads=1)
    assert done.count == {"success": 999, "http_later": 1}
    assert [url for _, url in done.asked].count(urls[0]) <= most
    assert done.ended[0] < 50 + 2 * 35 + 1
    assert done.words[0] == "HTTP 429 Too Many Requests"


def test_the_end_of_the_shards_time_ends_the_pauses() -> None:
    done = crawl(on("a", 300) + on("b", 1), allows(1, 5.0, 5.0), seconds=20)
    assert max(done.ended.values()) <= 20 + LATENCY
    assert {done.statuses[row] for row in range(299)} == {"success", "http_later", "timeout"}
    assert done.words[299] == "not begun: the shard's 20 s were over"
    shard = crawl(on("a", 40), lambda *_: later(15.0), seconds=10)
    assert shard.count == {"http_later": 16, "timeout": 24}
    assert max(shard.ended.values()) <= 10


def test_a_redirect_waits_for_the_turn_of_the_host_that_it_leads_to() -> None:
    turns = Turns(
        [Request(0, "http://b/0", 60), Request(1, "http://a/1", 60), Request(2, "http://b/2", 60)],
        threads=1,
        failures=1,
        patience=60,
        seconds=100,
        now=0.0,
    )
    first, second = turns.deal(0.0), turns.deal(0.0)
    assert first is not None
    assert second is not None
    assert [first.host, second.host, turns.deal(0.0)] == ["b", "a", None]
    turns.moved(second, "http://b:80/1", 0.0)
    assert turns.deal(0.0) is None  # b is busy
    assert not turns.done(first, later(3.0), 1.0)
    assert turns.deal(1.0) is None  # and then it is paused
    assert turns.wakes == 4.0
    third = turns.deal(4.0)  # while nothing else was said, by turns one that was told so and one that was not
    assert third is not None
    assert third.request.row == 0
    assert turns.done(third, None, 5.0)
    fourth = turns.deal(5.0)
    assert fourth is not None
    assert (fourth.request.row, fourth.request.url, fourth.request.redirects) == (1, "http://b:80/1", 1)
    assert turns.done(fourth, RefusedError("timeout", "silence"), 6.0)
    last = turns.deal(6.0)
    assert last is not None
    assert last.refusal is not None
    assert last.refusal.status == "host_down"


def test_what_one_host_has_said_is_forgotten_at_the_next() -> None:
    turns = Turns([Request(0, "http://a/0", 60)], threads=1, failures=1, patience=60, seconds=100, now=0.0)
    first = turns.deal(0.0)
    assert first is not None
    assert not turns.done(first, later(3.0), 0.0)
    again = turns.deal(3.0)
    assert again is not None
    turns.moved(again, "http://b/0", 3.0)
    turns._host("http://b/0").failures = 1
    refused = turns.deal(3.0)
    assert refused is not None
    assert refused.refusal is not None
    assert refused.refusal.status == "host_down"
    assert (refused.request.laters, refused.request.waited) == (0, 0.0)


def test_further_attempts_are_turns_too() -> None:
    turns = Turns([Request(0, "http://a/0", 60, 2)], threads=1, failures=2, patience=60, seconds=100, now=0.0)
    silence = RefusedError("timeout", "silence", passing=True)
    for number in range(2):
        turn = turns.deal(number)
        assert turn is not None
        assert not turns.done(turn, silence, number)
    third = turns.deal(2.0)
    assert third is not None
    assert third.refusal is None  # the host has not failed twice: no row of it has ended so
    assert turns.done(third, silence, 2.0)


def test_when_all_is_stopped_every_row_is_refused_at_once() -> None:
    turns = Turns(
        [Request(n, f"http://a/{n}", 60) for n in range(9)], threads=2, failures=9, patience=60, seconds=99, now=0
    )
    first = turns.deal(0.0)
    assert first is not None
    turns.done(first, later(30.0), 0.1)
    turns.stop(0.2)
    refused = [turns.deal(0.2) for _ in range(9)]
    assert all(turn is not None and turn.refusal is not None for turn in refused)
    assert turns.deal(0.2) is None


HOSTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=40)
ANSWERS = st.lists(
    st.sampled_from(
        [None, None, None, RefusedError("http_4xx", "gone"), RefusedError("timeout", "silence")]
        + [later(wait, of_host=sure) for wait in (None, 0.0, 2.0, 1e9, float("inf")) for sure in (True, False)]
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(HOSTS, ANSWERS, st.integers(1, 5), st.floats(0.1, 100), st.floats(0.1, 300))
def test_every_row_ends_once_and_in_time_whatever_is_answered(
    hosts: list[str], answers: list[RefusedError | None], threads: int, patience: float, seconds: float
) -> None:
    given_out = itertools.cycle(answers)
    urls = [f"http://{host}/{row}" for row, host in enumerate(hosts)]
    done = crawl(urls, lambda *_: next(given_out), patience=patience, seconds=seconds, threads=threads)
    assert sorted(done.statuses) == list(range(len(urls)))
    assert max(done.ended.values()) <= seconds + LATENCY
    # waits of 1, 2, 4, ... s add up to more than 100 s after 8 requests; one more such row of waits is begun whenever
    # the host, which served others meanwhile, begins to say "later" to all
    served = Counter(host_of(urls[row]) for row, status in done.statuses.items() if status != "http_later")
    for url, asked in Counter(url for _, url in done.asked).items():
        assert asked <= 9 * (1 + served[host_of(url)])


def test_a_host_is_one_with_or_without_its_usual_port() -> None:
    urls = ["http://X.org/a", "https://x.org:443/b", "http://me:secret@x.org:80"]
    assert {host_of(url) for url in urls} == {"x.org"}
    assert host_of("http://x.org:8080/") == "x.org:8080"
