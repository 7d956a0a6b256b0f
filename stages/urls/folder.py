"""Whether the folder of a list's images is the right one, which the first files that the list names tell.

It is seen before anything is committed: the folder is no part of a fingerprint, so rows that were told to be missing
would stay so when it is corrected.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stages.errors import UserError
from stages.urls.batch import Batch, chunks
from stages.urls.files import filesystem
from stages.urls.find import AT_ONCE

ENOUGH = 1_000
"""Files that are looked for; the first one is there mostly."""


def in_folder(root: str, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Pass on the rows of a list whose images lie below a folder.

    Raises:
        UserError: not one of several files is there, of the first `ENOUGH` or of all.
        OSError: a disk or the network is out of order.
    """
    files, inner = filesystem(root)
    looked_for: list[str] = []
    is_there = False
    for batch in batches:
        if not is_there and len(looked_for) < ENOUGH:
            named = [name for name in batch.content["file"].to_pylist() if name][: ENOUGH - len(looked_for)]
            looked_for += named
            is_there = _is_one_there(files, inner.rstrip("/"), named)
            if not is_there and len(looked_for) == ENOUGH:
                raise _none_there(root, looked_for)
        yield batch
    if len(looked_for) > 1 and not is_there:
        raise _none_there(root, looked_for)


def _none_there(root: str, looked_for: list[str]) -> UserError:
    return UserError(
        f"not one of {len(looked_for):,} images lies below {root}, {looked_for[0]} for instance; "
        "correct the source's `images`"
    )


def _is_one_there(files: Any, root: str, names: list[str]) -> bool:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        paths = chunks((f"{root}/{name}" for name in names), AT_ONCE)
        return any(any(pool.map(lambda path: _is_there(files, path), some)) for some in paths)


def _is_there(files: Any, path: str) -> bool:
    try:
        files.info(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
            raise
        return error.errno == errno.EACCES
    return True
