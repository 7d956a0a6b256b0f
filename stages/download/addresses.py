"""Which network addresses a download may connect to: those of the public internet, and the manifest's own mirrors.

A URL list is written by strangers. Without this rule a row of it could have a worker ask what only the worker can
reach: the cloud's metadata service, a database on the loopback, a router in the office. The rule judges the address
that a connection is about to be made to, so neither the spelling of a host (decimal, octal, hexadecimal) nor what its
name server answers the second time makes a difference.

The refused networks are those of IANA's special-purpose registries (RFC 6890 and its successors) that are not globally
reachable, the addresses that carry an IPv4 address across a translator of unknown reach (6to4, Teredo), and cloud
metadata services at public addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_REFUSED_V4: Final = {
    IPv4Network(network): words
    for network, words in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by a provider's customers",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "cloud metadata",  # Azure's; the other clouds' are link-local or shared
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}
_REFUSED_V6: Final = {
    IPv6Network(network): words
    for network, words in {
        "::/128": "unspecified",
        "::1/128": "loopback",
        "2001::/23": "reserved, Teredo among it",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "3fff::/20": "documentation",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
    }.items()
}
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks (CIDR) from their usual text form.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(ip_network(text) for text in texts)


def refusal(address: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why an address (IPv4 or IPv6, as `getaddrinfo` writes it) may not be connected to; None if it may.

    Args:
        address: where a connection is about to go.
        allowed: the networks of one's own mirrors, which may be anything.
    """
    found = _plain(ip_address(address))
    if any(found.version == network.version and found in network for network in allowed):
        return None
    words = _words_v4(found) if isinstance(found, IPv4Address) else _words_v6(found)
    return None if words is None else f"{address} is no public address ({words})"


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it is an IPv4-mapped or a translated (NAT64) one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if int(address) >> 32 == int(_NAT64.network_address) >> 32:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return IPv6Address(int(address))  # without its zone, which `in` would stumble over
    return address


def _words_v4(address: IPv4Address) -> str | None:
    return next((words for network, words in _REFUSED_V4.items() if address in network), None)


def _words_v6(address: IPv6Address) -> str | None:
    words = next((words for network, words in _REFUSED_V6.items() if address in network), None)
    return words or (None if address in _PUBLIC_V6 else "reserved")
