"""Addresses as they are asked for."""

from __future__ import annotations

import string
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

_URL_CHARACTERS: Final = "!#$%&'()*+,/:;=?@[]~"


def request_url(url: str | None) -> str | None:
    """The address to ask, with spaces and letters beyond ASCII quoted as a browser does; None unless it is http(s)."""
    address = (url or "").strip()
    try:
        parts = urlsplit(address)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.port == 0:
            return None
    except ValueError:  # a malformed port or IPv6 address
        return None
    scheme_and_host = f"{parts.scheme}://{parts.netloc}"
    if not scheme_and_host.isprintable() or " " in scheme_and_host:
        return None
    return scheme_and_host + quote(parts._replace(scheme="", netloc="").geturl(), _URL_CHARACTERS)


def redirect_url(url: str, location: str) -> str | None:
    """The address that a Location header leads to from `url`; None unless it is http(s).

    A header comes as Latin-1; whatever is not ASCII in it is passed on byte by byte.
    """
    try:
        return request_url(urljoin(url, quote(location, string.punctuation, "iso-8859-1")))
    except ValueError:
        return None
