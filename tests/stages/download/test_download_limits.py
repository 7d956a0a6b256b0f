"""What bounds a download: time, bytes, redirects, a host's share of the threads."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture
from pydantic import ValidationError

from stages.download import content as content_module
from stages.download import hosts as hosts_module
from stages.download.content import Inflated
from stages.download.hosts import Hosts, Turn
from stages.download.resolver import MAX_LOOKUPS, Resolver
from stages.download.spec import DownloadRun
from stages.download.statuses import RefusedError

JPEG = encoded(picture())


def statuses(output: Any) -> list[str]:
    return list(output.table["status"].to_pylist())


def drip(content: bytes, *, head: bytes = b"") -> Callable[[Any], None]:
    """Answers with `content` for ever, a byte every 20 ms, after `head` at once."""

    def answer(handler: Any) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        while True:
            for byte in content:
                if handler.server.over.wait(0.02):
                    return
                handler.wfile.write(bytes([byte]))

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
TRICKLES = {
    "status line": drip(b"H"),
    "headers": drip(b"X-A: b\r\n", head=OK),
    "continue": drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": drip(b"\xff", head=OK + b"\r\n"),
    "body of a known length": drip(b"\xff", head=OK + b"Content-Length: 100000\r\n\r\n"),
    "chunk size": drip(b"0", head=OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "chunks": drip(b"1\r\nx\r\n", head=OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "trailers": drip(b"A: b\r\n", head=OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"),
}


def test_nothing_that_trickles_lasts_longer_than_an_image_may(web: Web, download: Run) -> None:
    for name, answer in TRICKLES.items():
        web.pages[f"/{name}".replace(" ", "-")] = answer
    urls = [web.url(f"/{name}".replace(" ", "-")) for name in TRICKLES]
    output = download([{"url": url} for url in urls], timeout=5, max_seconds=0.5, retries=3)
    assert dict(zip(TRICKLES, statuses(output), strict=True)) == dict.fromkeys(TRICKLES, "timeout")


def test_a_tls_handshake_and_redirects_count_too(web: Web, download: Run) -> None:
    web.pages["/slow"] = lambda handler: (
        handler.server.over.wait(0.2),
        handler.answer(302, b"", {"Location": f"/slow?{web.hits['/slow']}"}),
    )[1]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # it takes connections and says nothing
        silent = f"https://127.0.0.1:{listener.getsockname()[1]}/x.jpg"
        output = download([{"url": silent}, {"url": web.url("/slow")}], timeout=0.4, max_seconds=0.7, max_redirects=99)
    assert statuses(output) == ["timeout", "timeout"]


def test_a_name_server_that_does_not_answer_is_a_timeout(
    web: Web, download: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, real = threading.Event(), socket.getaddrinfo

    def hang(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "hang.test":
            over.wait()
        return real("127.0.0.1" if host == "hang.test" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    rows = [{"url": f"http://hang.test/{n}.jpg"} for n in range(30)] + [{"url": web.url("/good.jpg")}]
    output = download(rows, timeout=0.2, max_seconds=0.5, host_failures=3)
    lookups = sum(thread.name == "lookup" for thread in threading.enumerate())
    over.set()
    assert lookups == 1  # one for a name, not one for a row
    assert statuses(output)[-1] == "success"
    assert set(statuses(output)[:-1]) == {"timeout", "host_down"}


def test_a_name_is_looked_up_once_and_its_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        if host == "no.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 0)), (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    resolver = Resolver()
    for _ in range(3):
        assert resolver("yes.test", 5) == ["192.0.2.1"]
        assert resolver("::1", 5) == ["::1"]
        with pytest.raises(socket.gaierror):
            resolver("no.test", 5)
    assert asked == ["yes.test", "no.test"]


def test_a_lookup_that_fails_in_any_way_is_told_and_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(*_: object, **__: object) -> list[object]:
        raise ValueError("embedded null character")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(ValueError, match="null character"):
        Resolver()("a\0b", 5)

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for _ in range(MAX_LOOKUPS + 1):
            with pytest.raises(RuntimeError):
                resolver("a.test", 5)
    assert resolver("a.test", 5) == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/long-line", "http_other"), ("/many", "http_other"), ("/large", "http_other"), ("/fits", "success")],
)
def test_headers_are_bounded(web: Web, download: Run, path: str, status: str) -> None:
    def answer(headers: bytes) -> Callable[[Any], None]:
        return lambda handler: handler.wfile.write(OK + headers + b"Content-Length: %d\r\n\r\n" % len(JPEG) + JPEG)

    web.pages["/long-line"] = answer(b"X: " + b"a" * 70_000 + b"\r\n")
    web.pages["/many"] = answer(b"X: a\r\n" * 101)
    web.pages["/large"] = answer((b"X: " + b"a" * 1_000 + b"\r\n") * 70)
    web.pages["/fits"] = answer((b"X: " + b"a" * 1_000 + b"\r\n") * 60)
    assert statuses(download([{"url": web.url(path)}])) == [status]


def test_redirects_are_counted(web: Web, download: Run) -> None:
    for step in range(5):
        target = f"/{step + 1}" if step < 4 else "/good.jpg"
        web.pages[f"/{step}"] = lambda handler, target=target: handler.answer(308, b"", {"Location": target})
    assert statuses(download([{"url": web.url("/0")}], max_redirects=5)) == ["success"]
    assert statuses(download([{"url": web.url("/0")}], max_redirects=4)) == ["http_other"]
    assert statuses(download([{"url": web.url("/good.jpg")}], max_redirects=0)) == ["success"]


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def two_members(content: bytes) -> bytes:
    return gzip.compress(content[:7]) + gzip.compress(content[7:]) + b"\0padding"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress(JPEG), "success"),
        ({"Content_Encoding": "deflate"}, zlib.compress(JPEG), "success"),
        ({"Content_Encoding": "deflate"}, raw_deflate(JPEG), "success"),
        ({"Content_Encoding": "gzip"}, gzip.compress(JPEG[:99]) + gzip.compress(JPEG[99:]), "success"),
        ({"Content_Encoding": "gzip"}, gzip.compress(JPEG[:99]) + gzip.compress(JPEG[99:])[:-20], "not_an_image"),
        ({"Content_Encoding": "gzip"}, gzip.compress(JPEG) + bytes(10**4), "success"),
        ({"Content_Encoding": "deflate"}, b"\xff" * 99, "not_an_image"),
        ({"Content_Encoding": "gzip"}, b"", "not_an_image"),
        ({"Content_Encoding": "identity"}, JPEG, "success"),
        ({"Content_Encoding": "gzip"}, JPEG, "not_an_image"),
        ({"Content_Encoding": "gzip"}, gzip.compress(JPEG)[:-20], "not_an_image"),
        ({"Content_Encoding": "gzip"}, gzip.compress(bytes(10**6)), "too_large"),
        ({"Content_Encoding": "br"}, JPEG, "not_an_image"),
        ({"Content_Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(JPEG)), "not_an_image"),
    ],
)
def test_compressed_bodies(web: Web, download: Run, headers: dict[str, str], body: bytes, status: str) -> None:
    url = web.image("/x", body, **headers)
    assert statuses(download([{"url": url}], max_bytes=10**5)) == [status]


@settings(deadline=None)
@given(
    st.binary(max_size=2000) | st.integers(0, 2000).map(bytes),
    st.integers(1, 50),
    st.integers(0, 2100),
    st.sampled_from([gzip.compress, two_members, zlib.compress, raw_deflate, bytes]),
    st.integers(1, 300),
)
def test_inflating_piece_by_piece_gives_the_content_or_stops_at_the_limit(
    content: bytes, piece: int, limit: int, pack: Callable[[bytes], bytes], held: int
) -> None:
    encoding = {bytes: None, gzip.compress: "gzip", two_members: "x-gzip"}.get(pack, "deflate")
    wire = pack(content)
    inflated, got = Inflated(encoding, limit), []
    pieces = [wire[start : start + piece] for start in range(0, len(wire), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_module, "PIECE", held)
        if encoding is not None and len(content) > limit:
            with pytest.raises(RefusedError, match=r"^too_large: "):
                got.extend(part for piece in pieces for part in inflated(piece))
            return
        got.extend(part for piece in pieces for part in inflated(piece))
    inflated.finish()
    assert b"".join(got) == content
    assert encoding is None or max(map(len, got), default=0) <= held


def test_a_body_is_cut_off_at_its_limit(web: Web, download: Run) -> None:
    sent = []

    def endless(handler: Any) -> None:
        handler.wfile.write(OK + b"\r\n")
        while not handler.server.over.is_set():
            sent.append(handler.wfile.write(bytes(2**16)))

    web.pages["/endless"] = endless
    web.pages["/lies"] = lambda handler: handler.answer(200, JPEG, length=10**12)
    output = download([{"url": web.url("/endless")}, {"url": web.url("/lies")}], max_bytes=2**21)
    assert statuses(output) == ["too_large", "too_large"]
    assert output.table["error"][0].as_py() == "more than 2097152 bytes"
    assert sum(sent) < 2**25  # the limit, and what sockets hold


def test_what_a_second_attempt_cannot_change_is_not_tried_again(web: Web, download: Run) -> None:
    paths = ["/nothing", "/noai.jpg", "/page.html", "/big.jpg", "/to-file", "/500", "/reset.jpg"]
    download([{"url": web.url(path)} for path in paths], retries=2, max_bytes=10_000)
    assert {path: web.hits[path] for path in paths} == {
        **dict.fromkeys(paths[:5], 1),
        **dict.fromkeys(paths[5:], 3),
    }


def test_one_silent_host_holds_up_no_other_and_is_given_up(web: Web, download: Run) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
        rows = [{"url": f"{dead}/{n}.jpg"} for n in range(200)] + [{"url": web.url("/good.jpg")}] * 20
        output = download(rows, timeout=0.3, retries=0, host_failures=4, run={"threads": 8, "host_threads": 4})
    assert statuses(output)[200:] == ["success"] * 20
    given_up = statuses(output)[:200]
    assert set(given_up) == {"timeout", "host_down"}
    assert 4 <= given_up.count("timeout") <= 8  # the four that were asked, and at most four more at once
    words = output.table["error"][199].as_py()
    assert words.startswith("not asked: 127.0.0.1:")
    assert re.search(r"failed [4-8] times in a row, with: ", words)


def take_all(hosts: Hosts, count: int) -> list[Turn]:
    turns = []
    for _ in range(count):
        turns.append(hosts.take())
        hosts.done(turns[-1], None)
    return turns


ROWS = st.lists(st.sampled_from(["a", "b", "c", "d:81"]), min_size=1, max_size=30)


@settings(deadline=None)
@given(ROWS, st.integers(1, 5), st.integers(1, 4))
def test_every_row_has_its_turn_once_and_no_host_more_than_its_share(
    names: list[str], threads: int, host_threads: int
) -> None:
    hosts = Hosts(
        {row: f"http://{name}/{row}" for row, name in enumerate(names)},
        threads=host_threads,
        failures=3,
        seconds=60,
        retries=0,
        row_seconds=60,
    )
    lock, running, seen, too_many = threading.Lock(), dict.fromkeys(names, 0), [], []

    def work() -> None:
        while True:
            with lock:
                if len(seen) + sum(running.values()) >= len(names):
                    return
                running["reserved"] = running.get("reserved", 0) + 1
            turn = hosts.take()
            name = names[turn.request.row]
            with lock:
                running["reserved"] -= 1
                running[name] += 1
                too_many.append(running[name] > host_threads)
            time.sleep(0.0001)
            with lock:
                running[name] -= 1
                seen.append(turn.request.row)
            hosts.done(turn, None)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(seen) == list(range(len(names)))
    assert not any(too_many)


def test_two_rows_that_end_at_once_let_two_that_wait_begin() -> None:
    hosts = Hosts(dict.fromkeys(range(4), "http://a/"), threads=2, failures=3, seconds=60, retries=0, row_seconds=60)
    first, second = hosts.take(), hosts.take()
    begun: list[Turn] = []
    waiting = [threading.Thread(target=lambda: begun.append(hosts.take()), daemon=True) for _ in range(2)]
    for thread in waiting:
        thread.start()
    while len(hosts._changed._waiters) < 2:  # type: ignore[attr-defined]
        time.sleep(0.001)
    with hosts._changed:
        hosts.done(first, None)
        hosts.done(second, None)
    for thread in waiting:
        thread.join(10)
    assert sorted(turn.request.row for turn in begun) == [2, 3]


def test_hosts_take_turns() -> None:
    urls = {row: f"http://{'abc'[row // 4]}/{row}" for row in range(12)}
    order = take_all(Hosts(urls, threads=1, failures=3, seconds=60, retries=0, row_seconds=60), 12)
    assert [turn.request.url[7] for turn in order] == list("abc") * 4


def test_a_success_between_failures_keeps_a_host_up() -> None:
    hosts = Hosts(dict.fromkeys(range(20), "http://a/"), threads=1, failures=2, seconds=60, retries=0, row_seconds=60)
    silence = RefusedError("timeout", "silence")
    refused = []
    for outcome in [silence, None, silence, RefusedError("http_4xx", "gone"), silence, silence, None, None]:
        turn = hosts.take()
        refused.append(turn.refusal and turn.refusal.status)
        hosts.done(turn, outcome if turn.refusal is None else turn.refusal)
    assert refused == [None] * 6 + ["host_down"] * 2


def test_no_row_is_begun_after_the_shards_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(hosts_module.time, "monotonic", lambda: now[0])
    hosts = Hosts(
        {row: f"http://{row}/" for row in range(4)}, threads=1, failures=3, seconds=10, retries=0, row_seconds=60
    )
    begun = []
    for step in (9.0, 0.9, 0.2, 5.0):
        now[0] += step
        turn = hosts.take()
        begun.append(turn.refusal is None)
        assert turn.refusal is None or (turn.refusal.status, "10 s were over" in turn.refusal.words) == (
            "timeout",
            True,
        )
        hosts.done(turn, turn.refusal)
    assert begun == [True, True, False, False]


@pytest.mark.parametrize("contact", ["nobody", "https://x.org/ (evil", "a@b\r\nX: y", "https://x.org/;"])
def test_a_contact_is_an_address(contact: str) -> None:
    with pytest.raises(ValidationError, match="a web address or an e-mail address"):
        DownloadRun(contact=contact)
    assert DownloadRun(contact="crawler@example.org").contact == "crawler@example.org"
