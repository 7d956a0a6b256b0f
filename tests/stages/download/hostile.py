"""A web that is out for mischief, on the loopback: every trap that a URL list of strangers may hold, and what each must
come to.

Every trap has a host name of its own, so that no trap's failures count against another. Names are resolved by a table
(`HostileWeb.names`) and not by DNS, and `guard` keeps a process from connecting to anything but the loopback: what
would go elsewhere goes to the canary, a server that nobody may reach and that counts who does.
"""

from __future__ import annotations

import gzip
import io
import ipaddress
import itertools
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from loopback import encoded, picture
from PIL import Image

CANARY = "127.0.0.9"
"""Where the canary sits: an address of the loopback that no test allows."""
INSIDE = {
    "private": ["10.0.0.1", "172.16.0.1", "192.168.1.1"],
    "shared": ["100.64.0.1", "100.100.100.200"],
    "metadata": ["169.254.169.254", "168.63.129.16", "[fd00:ec2::254]", "192.0.0.192"],
    "others": ["0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "[fe80::1]", "[ff02::1]", "[::]"],
    "carried": ["[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[2001:0:5ef5:79fd::f5ff:fffe]"],
    "spelled": [CANARY, "2130706441", "0x7f000009", "0x7f.0.0.9", "017700000011", "0177.0.0.011", "127.9", "127.0.9"],
    "loopback": ["[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.9]", "[::ffff:7f00:9]", "[64:ff9b::7f00:9]"],
    "dressed": [f"user:secret@{CANARY}", "0X7F000009", "\uff11\uff12\uff17.0.0.\uff19", "127\u30020\u30020\u30029"],
}
"""Hosts that are inside, by what is special about them."""


class Case(NamedTuple):
    """A row of the list, and the statuses that it may come to."""

    kind: str
    url: str | None
    statuses: tuple[str, ...]


class HostileWeb:
    """The web: its pages by path, the names of its hosts, and the canary's hits."""

    def __init__(self, folder: Path) -> None:
        self.over = threading.Event()
        self.pages: dict[str, Callable[[_Handler], None]] = {}
        self.names: dict[str, list[str]] = {}
        self.hits = 0
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.web = self
        self.canary = _Server((CANARY, 0), _Canary)
        self.canary.web = self
        self.silent = socket.create_server(("127.0.0.1", 0), backlog=256)  # takes connections, says nothing
        self.secret = folder / "secret.jpg"
        self.secret.write_bytes(encoded(picture(seed=99)))
        self._numbers = itertools.count()

    def host(self, *addresses: str) -> str:
        """A name of its own for these addresses (this web's, unless said)."""
        name = f"t{next(self._numbers)}.test"
        self.names[name] = list(addresses or ("127.0.0.1",))
        return name

    def page(self, answer: Callable[[_Handler], None], path: str = "/x.jpg") -> str:
        """The URL of a page that answers so."""
        host = self.host()
        self.pages[f"{host}{path}"] = answer
        return f"http://{host}:{self.server.server_port}{path}"

    def inside(self, host: str) -> str:
        """A picture of the canary's, under a host that must be refused."""
        return f"http://{host}:{self.canary.server_port}/secret.jpg"

    @property
    def spec(self) -> dict[str, Any]:
        """What `guard` needs to know, as JSON values."""
        return {"names": self.names, "canary": [CANARY, self.canary.server_port]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    web: HostileWeb


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        name = self.headers["Host"].partition(":")[0] + self.path.partition("?")[0]
        answer = self.server.web.pages.get(name, lambda handler: handler.send(404, b"gone"))
        with suppress(OSError):  # whoever asked has hung up
            answer(self)

    def send(self, code: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(code, "Reason")
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.wfile.write(piece)

    def for_ever(self, piece: bytes, pause: float = 0.0) -> None:
        while not self.server.web.over.wait(pause):
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        pass


class _Canary(_Handler):
    def do_GET(self) -> None:
        self.server.web.hits += 1
        with suppress(OSError):
            self.send(200, encoded(picture(seed=98)))


@contextmanager
def hostile_web(folder: Path) -> Iterator[HostileWeb]:
    """The web, until the context is left."""
    web = HostileWeb(folder)
    servers = (web.server, web.canary)
    threads = [threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True) for found in servers]
    for thread in threads:
        thread.start()
    try:
        yield web
    finally:
        web.over.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        web.silent.close()


def cases(web: HostileWeb) -> list[Case]:
    """The list: every trap, and good pictures between them."""
    makers = (_inside, _redirects, _no_address, _slow, _bodies, _bombs, _no_pictures, _answers, _opt_outs, _dead_host)
    found = [case for maker in makers for case in maker(web)]
    good = [Case("good", url, ("success",)) for url in _good(web, len(found) // 4)]
    return [case for pair in itertools.zip_longest(found, good) for case in pair if case is not None]


def _good(web: HostileWeb, count: int) -> Iterator[str]:
    for number in range(count):
        kind = ("JPEG", "PNG", "WEBP", "GIF")[number % 4]
        content = encoded(picture(seed=number), kind)
        yield web.page(lambda handler, content=content: handler.send(200, content), f"/good{number}.jpg")


def _inside(web: HostileWeb) -> Iterator[Case]:
    for kind, hosts in INSIDE.items():
        for host in hosts:
            yield Case(f"inside: {kind}", web.inside(host), ("refused_address", "invalid_url"))
    for address in ("10.0.0.1", "169.254.169.254", CANARY, "::1", "fd00:ec2::254", "::ffff:127.0.0.9"):
        yield Case("inside: by name", web.inside(web.host(address)), ("refused_address",))
    both = web.page(lambda handler: handler.send(200, encoded(picture())))
    web.names[both.split("/")[2].partition(":")[0]] = ["10.0.0.1", "127.0.0.1"]
    yield Case("inside and outside", both, ("success",))


def _redirects(web: HostileWeb) -> Iterator[Case]:
    inside = [host for hosts in INSIDE.values() for host in hosts if host.isascii()]
    for number, host in enumerate(inside):
        code = (301, 302, 303, 307, 308)[number % 5]
        yield Case("redirect inside", _to(web, web.inside(host), code), ("refused_address",))
    yield Case("redirect inside", _to(web, _to(web, web.inside(CANARY))), ("refused_address",))
    yield Case("redirect inside", _to(web, f"//{CANARY}:{web.canary.server_port}/x"), ("refused_address",))
    yield Case("redirect inside", _to(web, web.inside(web.host(CANARY))), ("refused_address",))
    for target in (f"file://{web.secret}", f"FILE://{web.secret}", "ftp://127.0.0.1/x", "data:image/png;base64,AAAA"):
        yield Case("redirect off the web", _to(web, target), ("http_other",))
    for target in ("gopher://127.0.0.1/", "http://[::1", "http://", "javascript:alert(1)", "http://x:99999/"):
        yield Case("redirect off the web", _to(web, target), ("http_other",))
    yield Case(
        "redirect for ever", web.page(lambda handler: handler.send(302, b"", ("Location", "?a"))), ("http_other",)
    )
    chain = web.page(lambda handler: handler.send(200, encoded(picture())))
    for _ in range(11):
        chain = _to(web, chain)
    yield Case("redirect too often", chain, ("http_other",))
    yield Case("redirect without a target", web.page(lambda handler: handler.send(302, b"")), ("http_other",))


def _to(web: HostileWeb, target: str, code: int = 302) -> str:
    return web.page(lambda handler: handler.send(code, b"", ("Location", target)))


def _no_address(web: HostileWeb) -> Iterator[Case]:
    port = web.server.server_port
    for url in [
        f"file://{web.secret}",
        f"FILE://{web.secret}",
        f"file://localhost{web.secret}",
        f"local_file://{web.secret}",
        str(web.secret),
        "ftp://127.0.0.1/x.jpg",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
        "//127.0.0.1/x.jpg",
        "http://",
        "http:///x.jpg",
        "http://:80/x.jpg",
        "http://[::1/x.jpg",
        "http://[x]/x.jpg",
        "http://127.0.0.1:0/x.jpg",
        "http://127.0.0.1:99999/x.jpg",
        "http://127.0.0.1:abc/x.jpg",
        f"http://a b.test:{port}/x.jpg",
        f"http://t0.test\x00:{port}/x.jpg",
        "",
        "   ",
        "<img src=x>",
        None,
    ]:
        yield Case("no address", url, ("invalid_url",))
    for host in (f"{'a' * 64}.test", "nowhere.test", "256.256.256.256", "127.0.0.1.nowhere.test", "-.test"):
        yield Case("no host", f"http://{host}:{port}/x.jpg", ("dns", "invalid_url"))
    line_breaks = web.page(lambda handler: handler.send(404, b""), "/x%0D%0AX:%20y")
    yield Case("line breaks", line_breaks.replace("%0D%0A", "\r\n").replace("%20", " "), ("http_4xx",))


_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def _slow(web: HostileWeb) -> Iterator[Case]:
    for head, piece in [
        (b"", b""),
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (_HEAD, b""),
        (_HEAD, b"X"),
        (_HEAD + b"\r\n", b""),
        (_HEAD + b"\r\n", b"\xff"),
        (_HEAD + b"Content-Length: 999999\r\n\r\n", b"\xff"),
        (_CHUNKED, b"0"),
        (_CHUNKED, b"1\r\nx\r\n"),
        (_CHUNKED + b"1\r\nx\r\n0\r\n", b"A: b\r\n"),
    ]:
        trickle = lambda handler, head=head, piece=piece: (handler.raw(head), handler.for_ever(piece, 0.05))[1]  # noqa: E731
        yield Case("slow", web.page(trickle), ("timeout",))
    headers = web.page(lambda handler: (handler.raw(_HEAD), handler.for_ever(b"X: y\r\n", 0.05))[1])
    yield Case("slow", headers, ("timeout", "http_other"))  # whatever comes first, the time's end or the 101st
    silent = web.silent.getsockname()[1]
    yield Case("silent", f"http://{web.host()}:{silent}/x.jpg", ("timeout",))
    yield Case("silent TLS", f"https://{web.host()}:{silent}/x.jpg", ("timeout",))
    yield Case("slow name server", f"http://{web.host('hang')}:{silent}/x.jpg", ("timeout",))
    slow_chain = web.page(
        lambda handler: (time.sleep(0.15), handler.send(302, b"", ("Location", f"?{time.monotonic()}")))[1]
    )
    yield Case("slow redirects", slow_chain, ("timeout", "http_other"))


def _bodies(web: HostileWeb) -> Iterator[Case]:
    jpeg, zeros = encoded(picture()), bytes(2**16)

    def case(kind: str, answer: Callable[[_Handler], None], *statuses: str) -> Case:
        return Case(kind, web.page(answer), statuses)

    yield case("endless", lambda h: (h.raw(_HEAD + b"\r\n"), h.for_ever(zeros))[1], "too_large")
    yield case("endless", lambda h: (h.raw(_CHUNKED), h.for_ever(b"10000\r\n" + zeros + b"\r\n"))[1], "too_large")
    yield case("endless", lambda h: (h.raw(_HEAD + b"\r\n" + jpeg), h.for_ever(zeros))[1], "too_large")
    yield case("endless headers", lambda h: (h.raw(_HEAD), h.for_ever(b"X: y\r\n"))[1], "http_other")
    yield case("endless header", lambda h: (h.raw(_HEAD + b"X: "), h.for_ever(zeros))[1], "http_other")
    yield case("endless status", lambda h: h.for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), "http_other")
    yield case("1000 headers", lambda h: h.send(200, jpeg, *[("X", "y")] * 1000), "http_other")
    for lie in ("999999999999", str(len(jpeg) + 1), str(10 * len(jpeg))):
        yield case(
            "too long a promise",
            lambda h, lie=lie: h.send(200, jpeg, ("Content-Length", lie)),
            "too_large",
            "connection",
        )
    for lie in ("10", "0", str(len(jpeg) // 2)):
        yield case("too short a promise", lambda h, lie=lie: h.send(200, jpeg, ("Content-Length", lie)), "not_an_image")
    yield case("promise of nonsense", lambda h: h.send(200, jpeg, ("Content-Length", "-5")), "success")
    yield case("broken chunks", lambda h: h.raw(_CHUNKED + b"zz\r\n" + jpeg), "connection", "http_other")
    yield case("broken chunks", lambda h: h.raw(_CHUNKED + b"-5\r\n" + jpeg), "connection", "http_other")
    yield case("broken chunks", lambda h: h.raw(_CHUNKED + b"ffff\r\n" + jpeg), "connection")
    yield case("gzip", lambda h: h.send(200, gzip.compress(jpeg), ("Content-Encoding", "gzip")), "success")
    for encoding in ("br", "zstd", "gzip, gzip", "compress", "x" * 500):
        yield case("compressed", lambda h, e=encoding: h.send(200, jpeg, ("Content-Encoding", e)), "not_an_image")
    for encoding, bomb in [("gzip", _inflating(31)), ("deflate", _inflating(15)), ("x-gzip", _inflating(31))]:
        yield case("gzip bomb", lambda h, b=bomb, e=encoding: h.send(200, b, ("Content-Encoding", e)), "too_large")
    yield case("no HTTP", lambda h: h.raw(b"\x16\x03\x01\x02\x00"), "http_other", "connection")
    yield case("no HTTP", lambda h: h.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "http_other", "connection")
    yield case("no answer", lambda h: None, "connection")
    port = web.server.server_port
    yield Case("TLS that is none", f"https://{web.host()}:{port}/x.jpg", ("tls", "connection", "timeout"))


@cache
def _inflating(bits: int, megabytes: int = 1000) -> bytes:
    """1 GB of zeros, compressed to 1 MB: a run of them, flushed, can be had again and again."""
    deflater, zeros = zlib.compressobj(9, zlib.DEFLATED, bits), bytes(10**6)
    start = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    more = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    return start + more * (megabytes - 1)


def _bombs(web: HostileWeb) -> Iterator[Case]:
    jpeg = bytearray(encoded(picture()))
    sof = jpeg.index(b"\xff\xc0")
    jpeg[sof + 5 : sof + 9] = struct.pack(">HH", 65_500, 65_500)
    gif = encoded(picture(), "GIF")
    webp = encoded(picture(), "WEBP", lossless=True)
    bmp = bytearray(encoded(picture(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    vp8l = webp.index(b"VP8L") + 9
    bits = (16_383) | (16_383 << 14) | (int.from_bytes(webp[vp8l : vp8l + 4], "little") & 0xF000_0000)
    for content in [
        _png(60_000, 60_000, b""),
        _png(2**31 - 1, 2**31 - 1, b""),
        _png(12_000, 12_000, zlib.compress(bytes(12_000 * (1 + 12_000 * 3)), 1)),
        bytes(jpeg),
        bytes(bmp),
        gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:],
        webp[:vp8l] + struct.pack("<I", bits) + webp[vp8l + 4 :],
    ]:
        send = lambda handler, content=content: handler.send(200, content)  # noqa: E731
        yield Case("pixel bomb", web.page(send), ("too_large", "not_an_image"))
    text = b"zTXt" + b"k\0\0" + zlib.compress(bytes(80_000_000), 1)
    bomb = _png(8, 8, zlib.compress(bytes(8 * 25)), _chunk(text[:4], text[4:]))
    yield Case("text bomb", web.page(lambda handler: handler.send(200, bomb)), ("not_an_image", "success"))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, data: bytes, before: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _no_pictures(web: HostileWeb) -> Iterator[Case]:
    jpeg = encoded(picture(200, 160))
    for content in [
        b"",
        b"\x00",
        b"<html><body>moved</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n%%EOF\n",
        b"PK\x03\x04" + bytes(100),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"GIF89a" + bytes(3),
        b"\x89PNG\r\n\x1a\n",
        jpeg[: len(jpeg) // 2],
        encoded(picture(), "PNG")[:-30],
        encoded(picture(), "WEBP")[:-30],
        encoded(picture(), "ICO"),
        encoded(picture(), "PPM"),
        encoded(picture(), "TGA"),
        encoded(picture(), "PCX"),
    ]:
        yield Case(
            "no picture", web.page(lambda handler, content=content: handler.send(200, content)), ("not_an_image",)
        )


def _answers(web: HostileWeb) -> Iterator[Case]:
    for code in (400, 401, 403, 404, 410, 418, 451):
        yield Case("HTTP 4xx", web.page(lambda h, code=code: h.send(code, encoded(picture()))), ("http_4xx",))
    for code in (500, 502, 504, 520):
        yield Case("HTTP 5xx", web.page(lambda h, code=code: h.send(code, encoded(picture()))), ("http_5xx",))
    for number, wait in enumerate(
        ("0", "1", "-5", "nan", "1e9", "9" * 5000, "tomorrow", "Tue, 99 Jun 2020 25:00:00 GMT", "")
    ):
        later = (408, 425, 429, 503)[number % 4]
        answer = lambda h, later=later, wait=wait: h.send(later, encoded(picture()), ("Retry-After", wait))  # noqa: E731
        yield Case("HTTP later", web.page(answer), ("http_later",))
    for code in (101, 300, 304, 305, 600, 999):
        yield Case("HTTP else", web.page(lambda h, code=code: h.send(code, b"")), ("http_other",))
    yield Case("HTTP 204", web.page(lambda h: h.send(204, b"")), ("not_an_image",))


def _opt_outs(web: HostileWeb) -> Iterator[Case]:
    for header in ("noai", "NoImageAI", "noindex, nofollow", "capfilt: noai", "max-image-preview:large, noai"):
        answer = lambda h, header=header: h.send(200, encoded(picture()), ("X-Robots-Tag", header))  # noqa: E731
        yield Case("opted out", web.page(answer), ("opted_out",))


def _dead_host(web: HostileWeb) -> Iterator[Case]:
    host, port = web.host(), web.silent.getsockname()[1]
    for number in range(40):
        yield Case("dead host", f"http://{host}:{port}/{number}.jpg", ("timeout", "host_down"))


def guard(spec: dict[str, Any]) -> None:
    """Have this process resolve by a table, and connect to nothing but the loopback.

    Args:
        spec: `HostileWeb.spec`. An address of a name may be `hang`, for a name server that does not answer.
    """
    names, canary = spec["names"], tuple(spec["canary"])
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def table(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else str(host)
        if text in names:
            if names[text] == ["hang"]:
                threading.Event().wait()
            return [found for address in names[text] for found in resolve(address, port, *arguments, **options)]
        if text.rstrip(".").endswith(".test"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, port, *arguments, **options)

    def to_loopback(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise ConnectionRefusedError("nothing but the loopback") if _hit(canary) else AssertionError
        connect(self, address)

    def _hit(where: tuple[str, int]) -> bool:
        with socket.socket() as client:
            connect(client, where)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(client.recv(1))

    socket.getaddrinfo = table  # type: ignore[assignment]
    socket.socket.connect = to_loopback  # type: ignore[method-assign]


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found.is_loopback or bool(getattr(found, "ipv4_mapped", None) and found.ipv4_mapped.is_loopback)


def peak_memory() -> float:
    """MiB of this process at its largest; `getrusage` would count the process that started it."""
    return _memory("self", "VmHWM")


def resident_memory(process: int) -> float:
    """MiB of a process now; 0 when it is over."""
    return _memory(str(process), "VmRSS")


def tree_memory(process: int) -> float:
    """MiB of a process and its children now; what they share is counted for each."""
    children = Path(f"/proc/{process}/task").glob("*/children")
    with suppress(OSError):
        found = [int(child) for path in children for child in path.read_text().split()]
        return resident_memory(process) + sum(map(tree_memory, found))
    return 0.0


def _memory(process: str, field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def large_pictures() -> Iterator[bytes]:
    """Pictures just below the limit of 100 million pixels, in the kinds that cost the most memory to decode."""
    for kind, mode in (("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK")):
        image = Image.new(mode, (10_000, 9_990), 120 if mode in ("P", "I;16") else None)
        buffer = io.BytesIO()
        image.save(buffer, kind, **({"progressive": True, "subsampling": 0} if kind == "JPEG" else {}))
        yield buffer.getvalue()


def dump(web: HostileWeb, urls: list[str | None], path: Path) -> None:
    """Write what the process that downloads reads."""
    path.write_text(json.dumps({"urls": urls, "guard": web.spec}))
