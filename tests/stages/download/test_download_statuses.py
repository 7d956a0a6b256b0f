from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.download.spec import SPEC, DownloadRecipe
from stages.download.statuses import RefusedError, of_answer, of_request, parse
from stages.tables import Status


@pytest.mark.parametrize(
    ("code", "status", "passing"),
    [
        (404, "http_4xx", False),
        (400, "http_4xx", False),
        (500, "http_5xx", True),
        (408, "http_later", False),
        (425, "http_later", False),
        (429, "http_later", False),
        (503, "http_later", False),
        (304, "http_other", False),
        (999, "http_other", False),
    ],
)
def test_answers(code: int, status: Status, passing: bool) -> None:
    refusal = of_answer(code, "Reason")
    assert (refusal.status, refusal.passing) == (status, passing)
    assert str(code) in refusal.words


@pytest.mark.parametrize(
    ("error", "status", "passing"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns", False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "dns", True),
        (ConnectionRefusedError(111, "Connection refused"), "connection", True),
        (ssl.SSLCertVerificationError("self-signed"), "tls", False),
        (OSError(113, "No route to host"), "connection", True),
        (TimeoutError("The read operation timed out"), "timeout", True),
        (http.client.RemoteDisconnected("closed"), "connection", True),
        (http.client.IncompleteRead(b"", 5), "connection", True),
        (http.client.BadStatusLine("?"), "http_other", False),
        (http.client.InvalidURL("control characters"), "invalid_url", False),
        (OSError(24, "Too many open files"), "error", False),
        (ValueError("?"), "error", False),
    ],
)
def test_requests(error: Exception, status: Status, passing: bool) -> None:
    refusal = of_request(error)
    assert (refusal.status, refusal.passing) == (status, passing)


@settings(deadline=None)
@given(st.sampled_from(get_args(Status)), st.text())
def test_what_goes_through_img2dataset_as_words_comes_back(status: Status, words: str) -> None:
    refusal = RefusedError(status, words)
    assert parse(str(refusal)) == (status, refusal.words)
    assert "\n" not in refusal.words


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("success story", "error"),
        ("anything else: even this", "error"),
    ],
)
def test_messages_of_img2dataset(message: str, status: Status) -> None:
    assert parse(message) == (status, message)


def test_png_has_levels() -> None:
    with pytest.raises(ValidationError, match="compression level"):
        DownloadRecipe(encode_format="png")
    assert DownloadRecipe(encode_format="png", encode_quality=6).encode_quality == 6


def test_the_spec_is_light() -> None:
    code = "import sys, stages.download.spec; print({'torch', 'cv2', 'img2dataset', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert SPEC.compute == "stages.download.compute:Download"
