from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
from email.message import Message
from typing import get_args
from urllib.error import HTTPError, URLError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.download.robots import single_directives
from stages.download.spec import SPEC, DownloadRecipe
from stages.download.statuses import RefusedError, of_request, parse
from stages.tables import Status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPError("u", 404, "Not Found", Message(), None), "http_4xx"),
        (HTTPError("u", 503, "Busy", Message(), None), "http_5xx"),
        (HTTPError("u", 302, "infinite loop", Message(), None), "http_other"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "dns"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "connection"),
        (URLError(TimeoutError("timed out")), "timeout"),
        (URLError(ssl.SSLCertVerificationError("self-signed")), "tls"),
        (URLError(OSError(113, "No route to host")), "connection"),
        (URLError("unknown url type: ftp"), "http_other"),
        (TimeoutError("The read operation timed out"), "timeout"),
        (http.client.RemoteDisconnected("closed"), "connection"),
        (http.client.IncompleteRead(b"", 5), "connection"),
        (http.client.BadStatusLine("?"), "http_other"),
        (http.client.InvalidURL("control characters"), "invalid_url"),
        (OSError(24, "Too many open files"), "error"),
        (ValueError("?"), "error"),
    ],
)
def test_requests(error: Exception, status: Status) -> None:
    assert of_request(error) == status


@settings(deadline=None)
@given(st.sampled_from(get_args(Status)), st.text())
def test_what_goes_through_img2dataset_as_words_comes_back(status: Status, words: str) -> None:
    refusal = RefusedError(status, words)
    assert parse(str(refusal)) == (status, refusal.words)
    assert "\n" not in refusal.words


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Use of image disallowed by X-Robots-Tag directive", "opted_out"),
        ("Image decoding error", "not_an_image"),
        ("image too small", "too_small"),
        ("aspect ratio too large", "bad_aspect"),
        ("success story", "error"),
        ("anything else: even this", "error"),
    ],
)
def test_messages_of_img2dataset(message: str, status: Status) -> None:
    assert parse(message) == (status, message)


@pytest.mark.parametrize(
    ("headers", "directives"),
    [
        (["noai"], ["noai"]),
        (["NoAI, noindex"], ["noai", "noindex"]),
        (["noai, max-image-preview:large"], ["noai", "max-image-preview"]),
        (["max-snippet:-1, noai"], ["max-snippet", "noai"]),
        (["googlebot: nofollow, noai"], ["googlebot: nofollow", "googlebot: noai"]),
        (["a: x, b: y", "z"], ["a: x", "b: y", "z"]),
        (["a: max-snippet: 5"], ["a: max-snippet"]),
        (["", " , "], []),
    ],
)
def test_robots(headers: list[str], directives: list[str]) -> None:
    assert list(single_directives(headers)) == directives


def test_png_has_levels() -> None:
    with pytest.raises(ValidationError, match="compression level"):
        DownloadRecipe(encode_format="png")
    assert DownloadRecipe(encode_format="png", encode_quality=6).encode_quality == 6


def test_the_spec_is_light() -> None:
    code = "import sys, stages.download.spec; print({'torch', 'cv2', 'img2dataset', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert SPEC.compute == "stages.download.compute:Download"
