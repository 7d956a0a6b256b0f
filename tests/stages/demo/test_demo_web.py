"""The small web, asked over real HTTP: what it serves and every way in which it fails."""

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections import Counter

import pandas as pd
import pytest

from stages.demo import web as webs
from stages.demo.render import rendered_at
from stages.demo.scene import Place, Stream
from stages.demo.web import FAULTS, fault_of, serve
from stages.demo.world import write


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write(tmp_path_factory.mktemp("demo") / "world", images=30, human=0, seed=6, base_url="http://unused")


@pytest.fixture(scope="module")
def path(world):
    return pd.read_parquet(world.web_list).URL[0].removeprefix("http://unused")


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.status, response.headers, response.read()


def test_it_serves_the_pictures_of_the_world(world):
    types = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
    with serve(world.folder, port=0, faults={}) as web:
        for index, url in enumerate(pd.read_parquet(world.web_list).URL[:10]):
            status, headers, data = get(web.base_url + url.removeprefix("http://unused"))
            assert (status, headers["Content-Type"]) == (200, types[url.rsplit(".", 1)[1]])
            assert data == rendered_at(Place(6, Stream.WEB, index)).data


@pytest.mark.parametrize("strange", ["/", "/images/99999999.jpg", "/images/00000000.gif", "/images/../world.json"])
def test_what_the_world_does_not_have_is_missing(world, strange):
    with serve(world.folder, port=0, faults={}) as web, pytest.raises(urllib.error.HTTPError, match="404"):
        get(web.base_url + strange)


def test_missing(world, path):
    with serve(world.folder, port=0, faults={"missing": 1}) as web, pytest.raises(urllib.error.HTTPError, match="404"):
        get(web.base_url + path)


def test_error_once(world, path):
    with serve(world.folder, port=0, faults={"error_once": 1}) as web:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(web.base_url + path)
        assert get(web.base_url + path)[0] == 200
        assert web.asked == {path: 2}


def test_truncated(world, path):
    with serve(world.folder, port=0, faults={"truncated": 1}) as web, pytest.raises(http.client.IncompleteRead):
        get(web.base_url + path)


def test_html(world, path):
    with serve(world.folder, port=0, faults={"html": 1}) as web:
        status, headers, data = get(web.base_url + path)
    assert (status, headers["Content-Type"]) == (200, "text/html")
    assert data.startswith(b"<!doctype html>")


def test_noai(world, path):
    with serve(world.folder, port=0, faults={"noai": 1}) as web:
        _, headers, data = get(web.base_url + path)
    assert headers["X-Robots-Tag"] == "noai"
    assert data == rendered_at(Place(6, Stream.WEB, 0)).data


def test_timeout_holds_the_connection_and_then_says_nothing(world, path, monkeypatch):
    with serve(world.folder, port=0, faults={"timeout": 1}) as web:
        with pytest.raises(TimeoutError):
            get(web.base_url + path, timeout=0.2)
        monkeypatch.setattr(webs, "HELD_SECONDS", 0.1)
        with pytest.raises(http.client.RemoteDisconnected):
            get(web.base_url + path)


def test_closing_lets_go_of_held_connections(world, path, monkeypatch):
    monkeypatch.setattr(webs, "HELD_SECONDS", 3600.0)
    with serve(world.folder, port=0, faults={"timeout": 1}) as web:
        connection = socket.create_connection(("127.0.0.1", web.server_port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        while not web.asked:
            threading.Event().wait(0.01)
    connection.settimeout(10)
    assert connection.recv(1) == b""
    connection.close()


def test_a_busy_port_is_named(world):
    with (
        serve(world.folder, port=0) as web,
        pytest.raises(OSError, match=f"port {web.server_port} of 127.0.0.1"),
        serve(world.folder, port=web.server_port),
    ):
        pass


def test_a_port_is_free_again_afterwards(world):
    with serve(world.folder, port=0) as web:
        port = web.server_port
    with serve(world.folder, port=port):
        pass


def test_a_url_always_fails_in_the_same_way_and_the_shares_are_kept():
    paths = [f"/images/{number:08d}.jpg" for number in range(20_000)]
    counted = Counter(fault_of(path, FAULTS) for path in paths)
    assert counted == Counter(fault_of(path, FAULTS) for path in paths)
    for fault, share in FAULTS.items():
        assert counted[fault] / len(paths) == pytest.approx(share, abs=0.004)
    assert 0.01 < sum(FAULTS.values()) < 0.1
