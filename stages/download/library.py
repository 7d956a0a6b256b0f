"""img2dataset as this stage uses it. Import it from here only.

Its downloader feeds a shard's rows to a pool of threads, bounds how many are under way, and hands every row to the
writer. One name inside it is replaced for this process, since it has no parameter: `download_image_with_retry`, which
fetches a row. It knows no limit but the time of one read, retries whatever failed, and pretends to be a browser. In its
place stands the function that is given as the downloader's `timeout`, which img2dataset passes through untouched. That
function chooses the row itself.

Its resizer is not used: it decodes what Pillow, which every later stage reads with, would refuse.

The package's `__init__` imports its command, and with it torch and Ray: 560 MB and six seconds for every worker. A bare
package stands in its place, so that only the module needed is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import IO, Any, TypeAlias


def _bare_package(name: str) -> None:
    """Let a package's modules be imported without its `__init__`."""
    spec = find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package


_bare_package("img2dataset")
_downloader: Any = import_module("img2dataset.downloader")
Downloader: Any = _downloader.Downloader

Fetched: TypeAlias = "tuple[int, IO[bytes] | None, str | None]"
"""A row, and its image or an error."""


def _fetch(_row: object, *, timeout: Callable[[], Fetched], **_: Any) -> Fetched:
    return timeout()


_downloader.download_image_with_retry = _fetch
