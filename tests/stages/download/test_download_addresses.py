"""Which addresses may be connected to, against Python's `ipaddress` and against a resolver that lies."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loopback import Run, Web
from pydantic import ValidationError

from stages.download.addresses import networks, refusal
from stages.download.spec import DownloadRecipe

IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address)
SPECIAL = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4"]
NEAR_SPECIAL = st.sampled_from(SPECIAL).flatmap(
    lambda text: st.integers(-2, 2**32).map(
        lambda step: IPv4Address((int(ipaddress.ip_network(text).network_address) + step) % 2**32)
    )
)


@settings(deadline=None, max_examples=500)
@given(IPV4 | IPV6 | NEAR_SPECIAL)
def test_what_python_knows_not_to_be_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None)
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        assert refusal(str(address)) is not None


@settings(deadline=None, max_examples=500)
@given(IPV4 | st.integers(0x2400 << 112, (0x3000 << 112) - 1).map(IPv6Address))
def test_what_python_knows_to_be_global_is_permitted(address: IPv4Address | IPv6Address) -> None:
    odd = ipaddress.ip_network("192.88.99.0/24"), ipaddress.ip_network("168.63.129.16/32")
    if address.is_global and not address.is_multicast and not any(address in network for network in odd):
        assert refusal(str(address)) is None


@settings(deadline=None)
@given(IPV4)
def test_an_ipv4_address_inside_an_ipv6_address_is_judged_or_refused(address: IPv4Address) -> None:
    packed = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        assert (refusal(str(IPv6Address(int(IPv6Address(prefix)) + packed))) is None) == (refusal(str(address)) is None)
    for carried in ((0x2002 << 112) + (packed << 80), (0x20010000 << 96) + (packed ^ 0xFFFFFFFF), packed):
        assert refusal(str(IPv6Address(carried))) is not None  # 6to4, Teredo, IPv4-compatible


@settings(deadline=None)
@given(IPV4 | IPV6)
def test_ones_own_addresses_are_permitted_and_no_others(address: IPv4Address | IPv6Address) -> None:
    own = networks(["127.0.0.0/8", "fd00:1::/32"])
    inside = any(address.version == network.version and address in network for network in own)
    assert (refusal(str(address), own) is None) == (inside or refusal(str(address)) is None)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fd00:ec2::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "64:ff9b:1::a00:1",
        "::",
        "255.255.255.255",
    ],
)
def test_metadata_services_and_other_special_addresses(address: str) -> None:
    words = refusal(address)
    assert words is not None
    assert address in words


def test_the_manifest_names_addresses_and_networks() -> None:
    assert DownloadRecipe(allow_addresses=["10.1.2.3", "fd00::/8"]).allow_addresses == ("10.1.2.3", "fd00::/8")
    for wrong in ("mirror.example.org", "10.1.2.3/8", "10.1.2"):
        with pytest.raises(ValidationError, match="an address, or a network as"):
            DownloadRecipe(allow_addresses=[wrong])


Resolve = dict[str, list[list[str]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """What names resolve to, one list of addresses per question (the last one for all that follow)."""
    answers: Resolve = {}
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **options: object) -> list[object]:
        found = answers.get(host)
        if found is None:
            return list(real(host, *arguments, **options))  # type: ignore[arg-type]
        addresses = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected to; none but loopback is, whatever a test gets wrong."""
    seen: list[str] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append(address[0])
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError("a test connects to loopback only")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def named(web: Web, host: str, path: str = "/good.jpg") -> str:
    return web.url(path).replace("127.0.0.1", host)


def test_the_address_is_judged_and_not_the_name(web: Web, download: Run, names: Resolve, connected: list[str]) -> None:
    names |= {"inside.test": [["10.0.0.7"]], "both.test": [["10.0.0.7", "127.0.0.1"]], "many.test": [["10.0.0.1"] * 9]}
    hosts = ("inside.test", "both.test", "many.test", "2130706434", "0x7f.0.0.2", "0177.0.0.2", "127.2", "[::1]")
    output = download([{"url": named(web, host)} for host in hosts])
    statuses = dict(zip(hosts, output.table["status"].to_pylist(), strict=True))
    assert statuses.pop("both.test") == "success"
    assert set(statuses.values()) == {"refused_address"}
    assert set(connected) == {"127.0.0.1"}
    assert output.table["error"][0].as_py() == "inside.test: 10.0.0.7 is no public address (private)"


def test_a_name_that_changes_its_mind_is_asked_once(
    web: Web, download: Run, names: Resolve, connected: list[str]
) -> None:
    names["rebind.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    output = download([{"url": named(web, "rebind.test")}, {"url": named(web, "rebind.test", "/good.png")}])
    assert output.table["status"].to_pylist() == ["success", "success"]
    assert set(connected) == {"127.0.0.1"}


def test_every_redirect_is_judged(web: Web, download: Run, names: Resolve, connected: list[str]) -> None:
    names["inside.test"] = [["192.168.0.1"]]
    for host in ("127.0.0.2", "inside.test", "[::1]", "2130706434", "localhost.localdomain.test"):
        names.setdefault("localhost.localdomain.test", [["127.0.0.2"]])
        target = named(web, host)
        web.pages["/out"] = lambda handler, target=target: handler.answer(302, b"", {"Location": target})
        web.pages["/far"] = lambda handler: handler.answer(307, b"", {"Location": "/out"})
        assert download([{"url": web.url("/far")}]).table["status"].to_pylist() == ["refused_address"]
    assert set(connected) == {"127.0.0.1"}


def test_a_proxy_of_the_environment_is_no_way_around(
    web: Web, download: Run, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, web.url(""))
    output = download([{"url": "http://10.1.2.3/x.jpg"}, {"url": web.url("/good.jpg")}])
    assert output.table["status"].to_pylist() == ["refused_address", "success"]
    assert not web.hits["http://10.1.2.3/x.jpg"]


def test_host_and_port_of_the_url_are_told_to_the_server(web: Web, download: Run, names: Resolve) -> None:
    names["pictures.test"] = [["127.0.0.1"]]
    told = []
    web.pages["/x"] = lambda handler: (told.append(dict(handler.headers)), handler.answer(404, b""))[1]
    download([{"url": named(web, "user:secret@Pictures.test", "/x")}], run={"contact": "https://example.org/bot"})
    assert told[0]["Host"] == f"pictures.test:{web.server_port}"
    assert told[0]["User-Agent"].startswith("Mozilla/5.0 (compatible; capfilt/")
    assert told[0]["User-Agent"].endswith("; +https://example.org/bot)")
    assert told[0]["Accept-Encoding"] == "identity"
    assert "Authorization" not in told[0]
