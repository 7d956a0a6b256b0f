"""Storage that answers with errors for a while: what such an error is, how long it is waited for, and who is told.

A run lasts for days, and in these days a token expires, a server says 503, a mount goes away, a disk is full. Nothing
is wrong with the shard then, nor with the worker: who reads or writes waits and tries again, for `PATIENCE` seconds.
Before a run has begun nobody waits: what has never worked is a mistake, and is told at once.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 600.0
"""Seconds for which storage is tried again while it answers with nothing but errors."""
FIRST_PAUSE: Final = 1.0
"""Seconds before the first retry; each pause is twice as long as the one before it."""
LONGEST_PAUSE: Final = 15.0
CLIENTS: Final = ("aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "s3fs", "urllib3")
"""Packages whose exceptions are about a storage server."""
ANSWERS: Final = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""Errors that say how it is; they are no trouble of the storage's."""
FINAL: Final = (errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.ELOOP, errno.EXDEV)
"""What a disk says of a request that is wrong. (A client of a server makes EINVAL of much that is not.)"""


class StorageLostError(OSError):
    """Storage has answered with errors for longer than anybody waits. The message is the last of them, as one line."""


@dataclass
class _Waiting:
    """Whether this process waits for storage, and whom it tells."""

    say: Callable[[str], None] | None = None
    probe: Callable[[], object] | None = None
    troubled: set[str] = field(default_factory=set)
    """Who waits now."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Here(threading.local):
    """Whether this thread does not."""

    hurries = False


_WAITING = _Waiting()
_HERE = _Here()


def be_patient(say: Callable[[str], None] | None, probe: Callable[[], object] | None) -> None:
    """From now on this process waits for storage, or (None) does not.

    Args:
        say: hears of every outage, as what the storage says, and "" when it is over.
        probe: does something harmless with the storage, and raises what is amiss with it.
    """
    _WAITING.say, _WAITING.probe = say, probe
    _WAITING.troubled.clear()


@contextmanager
def patience(say: Callable[[str], None], probe: Callable[[], object]) -> Iterator[None]:
    """This process waits for storage in the block."""
    be_patient(say, probe)
    try:
        yield
    finally:
        be_patient(None, None)


@contextmanager
def hurry() -> Iterator[None]:
    """This thread does not wait in the block: what it writes is worth nothing later. An outage is told all the same."""
    before, _HERE.hurries = _HERE.hurries, True
    try:
        yield
    finally:
        _HERE.hurries = before


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; also where that was suppressed for people."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def is_of_client(error: BaseException) -> bool:
    """Whether a storage client has raised it, or what it was made of; and not because something is not there."""
    for found in chain(error):
        if isinstance(found, ANSWERS):
            return False
        if isinstance(found, ConnectionError | TimeoutError):
            return True
        if any(kind.__module__.partition(".")[0] in CLIENTS for kind in type(found).__mro__):
            return True
    return False


def may_pass(error: BaseException) -> bool:
    """Whether an error of reading or writing storage may be another one, or none, in a while."""
    if isinstance(error, ANSWERS):
        return False
    if type(error).__module__.partition(".")[0] == "duckdb":
        return type(error).__name__ in {"IOException", "HTTPException"}
    return is_of_client(error) or (isinstance(error, OSError) and error.errno not in FINAL)


def is_outage(error: Exception) -> bool:
    """Whether something that also reads and writes storage has failed because of the storage."""
    return is_of_client(error) or bool(_probed())


def _probed() -> str:
    """What is amiss with the storage now; "" for nothing."""
    try:
        if _WAITING.probe:
            _WAITING.probe()
    except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
        return reason(error)
    return ""


def reason(error: BaseException) -> str:
    """What the storage said, as one line: a server's own words, where it has any, and not what was made of them."""
    if answer := _answer(error):
        said, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
        words = (meta.get("HTTPStatusCode", ""), said.get("Code", ""), said.get("Message", ""))
        return " ".join(dict.fromkeys(str(word) for word in words if word))
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _answer(error: BaseException) -> dict[str, Any] | None:
    """What a server has answered, as botocore keeps it."""
    found = (getattr(each, "response", None) for each in chain(error))
    return next((response for response in found if isinstance(response, dict)), None)


def _full_reason(error: Exception) -> str:
    """As `reason`; an answer to HEAD is a number without words (400 may be an expired token), so it is asked again."""
    answer = _answer(error)
    is_bare = answer is not None and str(answer.get("Error", {}).get("Code", "")).isdigit()
    return (is_bare and _probed()) or reason(error)


def told(trouble: str, who: str = "") -> None:
    """Say that there is an outage, where nobody else has; `who` waits ("" for this process)."""
    with _WAITING.lock:
        begins = not _WAITING.troubled
        _WAITING.troubled.add(who)
    if begins and _WAITING.say:
        _WAITING.say(trouble)


def over(who: str = "") -> None:
    """Say that the outage is over, where nobody else waits."""
    if who not in _WAITING.troubled:
        return
    with _WAITING.lock:
        _WAITING.troubled.discard(who)
        ends = not _WAITING.troubled
    if ends and _WAITING.say:
        _WAITING.say("")


def patiently(action: Callable[[], T], *, passes: Callable[[Exception], bool] = may_pass) -> T:
    """Do something with storage, again and again while that fails for a reason that may pass.

    Args:
        action: what can be done more than once.
        passes: whether to wait for an error's end.

    Raises:
        StorageLostError: it has failed for `PATIENCE` seconds.
    """
    pause, ends = FIRST_PAUSE, math.inf
    while True:
        started = time.monotonic()
        try:
            done = action()
        except StorageLostError:
            raise
        except Exception as error:
            if _WAITING.say is None or not passes(error):
                raise
            trouble, now = _full_reason(error), time.monotonic()
            told(trouble)
            if _HERE.hurries:
                raise
            if ends == math.inf or now - started > PATIENCE:  # it was well for that long
                pause, ends = FIRST_PAUSE, now + PATIENCE
            if now >= ends:
                raise StorageLostError(f"{trouble} (for {PATIENCE / 60:g} min)") from error
            time.sleep(min(pause, LONGEST_PAUSE, ends - now))
            pause *= 2
        else:
            over()
            return done


def patient(action: Callable[P, T]) -> Callable[P, T]:
    """A function that reads or writes storage, as one that waits for it."""

    @wraps(action)
    def waits(*args: P.args, **kwargs: P.kwargs) -> T:
        return patiently(lambda: action(*args, **kwargs))

    return waits
