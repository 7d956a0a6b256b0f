"""Servers that say "later", and mean it: 429, 503, 408 and 425 with and without Retry-After."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from loopback import Run, Web, encoded, picture, serve

from stages.download import pace

JPEG = encoded(picture())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(pace, "UNMEASURED", 0.02)
    monkeypatch.setattr(pace, "LONGEST_INTERVAL", 0.05)


@pytest.fixture
def other_web() -> Iterator[Web]:
    with serve() as running:
        yield running


def limited(count: int, per: float, code: int = 429, **headers: str) -> Callable[[Any], None]:
    """Answers so many requests in any span of so many seconds; `later` of the server counts the others."""
    recent: deque[float] = deque()
    lock = threading.Lock()

    def answer(handler: Any) -> None:
        now = time.monotonic()
        with lock:
            while recent and now - recent[0] > per:
                recent.popleft()
            fits = len(recent) < count
            if fits:
                recent.append(now)
        handler.answer(200 if fits else code, JPEG, {} if fits else headers)

    return answer


def test_a_limited_host_gives_all(web: Web, download: Run) -> None:
    answer = limited(10, 0.1, Retry_After="0.1")
    for number in range(40):
        web.pages[f"/{number}"] = answer
    output = download([{"url": web.url(f"/{number}")} for number in range(40)])
    assert output.table["status"].to_pylist() == ["success"] * 40
    assert sum(web.hits.values()) <= 60  # of which 40 are needed


def test_a_host_that_says_later_does_not_hold_up_another(web: Web, other_web: Web, download: Run) -> None:
    """It says so until the other, last in the list, has been asked for everything: held up, none would come."""

    def later(handler: Any) -> None:
        done = other_web.hits["/x"] == 20
        handler.answer(*((200, JPEG, {}) if done else (429, b"", {"Retry-After": "0.1"})))

    for number in range(40):
        web.pages[f"/{number}"] = later
    other_web.pages["/x"] = lambda h: h.answer(200, JPEG)
    rows = [{"url": web.url(f"/{number}")} for number in range(40)] + [{"url": other_web.url("/x")}] * 20
    assert download(rows).table["status"].to_pylist() == ["success"] * 60


@pytest.mark.parametrize("code", [429, 503])
def test_what_came_later_is_a_success_and_what_never_comes_says_so(web: Web, download: Run, code: int) -> None:
    web.pages["/once"] = lambda h: h.answer(*((code, b"") if web.hits["/once"] == 1 else (200, JPEG)))
    web.pages["/never"] = lambda h: h.answer(code, b"")
    output = download([{"url": web.url("/once")}, {"url": web.url("/never")}], max_seconds=0.3, retries=0)
    assert output.table["status"].to_pylist() == ["success", "http_later"]
    assert output.table["error"][1].as_py().startswith(f"HTTP {code} ")
    assert 2 <= web.hits["/never"] <= 6  # after 0.05, 0.1, 0.15 seconds


HOSTILE = [
    "1" + "0" * 4000,
    "-5",
    "nan",
    "1e9",
    "tomorrow",
    "",
    "0",
    "0.1",
    formatdate(0, usegmt=True),
    "Tue, 99 Jun 2030 25:00:00 GMT",
]


def test_waits_that_mean_nothing_are_bounded(web: Web, download: Run) -> None:
    def once(wait: str) -> Callable[[Any], None]:
        def answer(handler: Any) -> None:
            if web.hits[handler.path] == 1:
                handler.answer(429, b"", {"Retry-After": wait})
            else:
                handler.answer(200, JPEG)

        return answer

    waits = [*HOSTILE, "3600"]
    for number, wait in enumerate(waits):
        web.pages[f"/{number}"] = once(wait)
    output = download([{"url": web.url(f"/{number}")} for number in range(len(waits))], max_seconds=2)
    assert output.table["status"].to_pylist() == [*["success"] * len(HOSTILE), "http_later"]
    assert web.hits[f"/{len(HOSTILE)}"] == 1  # nobody can wait that long, so it is not asked before


def test_a_redirect_leads_to_a_host_with_limits_of_its_own(web: Web, other_web: Web, download: Run) -> None:
    other_web.pages["/x"] = limited(4, 0.1, Retry_After="0.1")
    web.pages["/to"] = lambda h: h.answer(302, b"", {"Location": other_web.url("/x")})
    rows = [{"url": web.url("/to")}] * 12 + [{"url": web.url("/good.jpg")}] * 12
    output = download(rows)
    assert output.table["status"].to_pylist() == ["success"] * 24
    assert web.hits["/to"] == 12  # not once more for every "later"
    assert other_web.hits["/x"] <= 24


def test_a_row_has_its_own_time_from_its_beginning(web: Web, download: Run) -> None:
    web.pages["/slow"] = lambda handler: (handler.server.over.wait(0.1), handler.answer(200, JPEG))[1]
    output = download([{"url": web.url("/slow")}] * 5, max_seconds=0.4, run={"host_threads": 1})
    assert output.table["status"].to_pylist() == ["success"] * 5  # the last one began after 0.4 s
