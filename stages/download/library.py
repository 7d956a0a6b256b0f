"""img2dataset as this stage uses it. Import it from here only.

Its downloader feeds a shard's rows to a pool of threads, holds back what is fetched until it is fitted, and hands every
row to the writer. Two names inside it are replaced for this process; neither has a parameter:

* `download_image_with_retry`, which fetches a row: it knows no limit but the time of one read, retries whatever
  failed, and pretends to be a browser. In its place stands the function that is given as the downloader's `timeout`,
  which img2dataset passes through untouched. That function chooses the row itself.
* `SuppressStdoutStderr`, by which its resizer points the whole process's stdout and stderr at /dev/null around every
  image. That loses what other threads print meanwhile, and is not thread-safe: two overlapping ones leave the streams
  at /dev/null for good. What it is there to hide, OpenCV's log, is switched off at OpenCV itself; only libjpeg still
  writes its line `Corrupt JPEG data: ...` to stderr for a damaged file that every decoder accepts.

The package's `__init__` imports its command, and with it torch and Ray: 560 MB and six seconds for every worker. A bare
package stands in its place, so that only the two modules needed are loaded.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import IO, Any, TypeAlias

import cv2

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # without it, the import asks the network for a newer version


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
_resizer: Any = import_module("img2dataset.resizer")
Downloader: Any = _downloader.Downloader
Resizer: Any = _resizer.Resizer

Fetched: TypeAlias = "tuple[int, IO[bytes] | None, str | None]"
"""A row, and its image or an error."""


def _fetch(_row: object, *, timeout: Callable[[], Fetched], **_: Any) -> Fetched:
    return timeout()


_downloader.download_image_with_retry = _fetch
_resizer.SuppressStdoutStderr = contextlib.nullcontext
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
