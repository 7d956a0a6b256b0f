"""What is an outage of storage, for how long it is waited for, and what is said of it."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from s3fs.errors import translate_boto_error

from stages.errors import UserError
from stages.io import outages
from stages.io.outages import StorageLostError, hurry, is_outage, may_pass, patience, patiently, reason


def answer(status: int, code: str, words: str) -> OSError:
    """What s3fs makes of a server's answer."""
    response = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: OSError = translate_boto_error(ClientError(response, "PutObject"))
    return error


BUSY = answer(503, "SlowDown", "Please reduce your request rate.")
EXPIRED = answer(400, "ExpiredToken", "The provided token has expired.")
BARE = answer(400, "400", "Bad Request")
"""To HEAD, which has no body."""
PASSING = {
    "busy": BUSY,
    "internal": answer(500, "InternalError", "We encountered an internal error."),
    "expired": EXPIRED,
    "refresh": answer(400, "TokenRefreshRequired", "The provided token must be refreshed."),
    "bare": BARE,
    "denied": answer(403, "AccessDenied", "Access Denied"),
    "no server": EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "stale": OSError(errno.ESTALE, "Stale file handle"),
    "locked": PermissionError(errno.EACCES, "Permission denied"),
}
FINAL = {
    "absent": FileNotFoundError(errno.ENOENT, "No such file"),
    "absent there": answer(404, "NoSuchKey", "The specified key does not exist."),
    "there": FileExistsError(errno.EEXIST, "File exists"),
    "wrong": OSError(errno.EINVAL, "Invalid argument"),
    "long": OSError(errno.ENAMETOOLONG, "File name too long"),
    "mistake": ValueError("no such column"),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
def test_what_may_pass(error):
    assert may_pass(error)


@pytest.mark.parametrize("error", FINAL.values(), ids=FINAL)
def test_what_will_not(error):
    assert not may_pass(error)


def test_the_servers_words_are_told_and_not_what_its_client_makes_of_them():
    assert EXPIRED.errno is None
    assert answer(400, "TokenRefreshRequired", "x").errno == errno.EINVAL
    assert reason(EXPIRED) == "400 ExpiredToken The provided token has expired."
    assert reason(BUSY) == "503 SlowDown Please reduce your request rate."
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "OSError: [Errno 28] No space left on device"


def test_an_error_that_was_made_of_a_servers_answer_is_known_for_it():
    def read() -> None:
        try:
            raise BUSY
        except OSError:
            raise UserError("list.csv cannot be read") from None

    with pytest.raises(UserError) as raised:
        read()
    assert is_outage(raised.value)
    assert not is_outage(UserError("list.csv cannot be read"))


@pytest.fixture
def said(monkeypatch) -> Iterator[list[str]]:
    """What is told, by a process that waits for a tenth of a second."""
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(outages, "PATIENCE", 0.1)
    told: list[str] = []
    with patience(told.append, lambda: None):
        yield told


def failing(times: int, error: Exception) -> Callable[[], int]:
    """What succeeds after so many failures; it returns how often it was called."""
    calls = count(1)

    def act() -> int:
        if (call := next(calls)) <= times:
            raise error
        return call

    return act


def test_an_outage_is_outlasted_and_told_once(said):
    assert patiently(failing(3, BUSY)) == 4
    assert len(said) == 2
    assert "503 SlowDown Please reduce your request rate." in said[0]
    assert said[1] == ""


def test_one_that_lasts_ends_with_its_reason(said):
    with pytest.raises(StorageLostError, match=r"^503 SlowDown") as lost:
        patiently(failing(10**6, BUSY))
    assert str(pickle.loads(pickle.dumps(lost.value))) == str(lost.value)
    assert len(said) == 1


def test_what_will_not_pass_is_raised_at_once(said):
    with pytest.raises(FileNotFoundError):
        patiently(failing(1, FINAL["absent"]))
    assert said == []


def test_nobody_waits_before_a_run_has_begun():
    with pytest.raises(OSError, match="reduce"):
        patiently(failing(1, BUSY))


def test_who_hurries_does_not_wait_but_tells(said):
    with hurry(), pytest.raises(OSError, match="reduce"):
        patiently(failing(1, BUSY))
    assert len(said) == 1
    assert patiently(failing(0, BUSY)) == 1
    assert said[1:] == [""]


def test_an_answer_without_words_is_explained_by_one_with_words(said):
    def probe() -> None:
        raise EXPIRED

    with patience(said.append, probe):
        patiently(failing(1, BARE))
    assert "400 ExpiredToken The provided token has expired." in said[0]


def test_an_error_of_any_kind_is_the_storages_while_that_does_not_answer(said):
    answers = failing(1, BUSY)
    with patience(said.append, answers):
        assert patiently(failing(1, ValueError("cut short")), passes=is_outage) == 2
        with pytest.raises(ValueError, match="cut short"):
            patiently(failing(1, ValueError("cut short")), passes=is_outage)
