"""img2dataset as this stage uses it. Import it from here only.

Two names inside it are replaced for this process; neither has a parameter:

* `urllib`, by which its downloader reaches the network: see `http_client`.
* `SuppressStdoutStderr`, by which its resizer points the whole process's stdout and stderr at /dev/null around every
  image. That loses what other threads print meanwhile, and is not thread-safe: two overlapping ones leave the streams
  at /dev/null for good. What it is there to hide, OpenCV's log, is switched off at OpenCV itself; only libjpeg still
  writes its line `Corrupt JPEG data: ...` to stderr for a damaged file that every decoder accepts.
"""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # without it, the import asks the network for a newer version

import cv2
import img2dataset.downloader
import img2dataset.resizer
from img2dataset.downloader import Downloader
from img2dataset.resizer import Resizer

from stages.download.http_client import HttpClient

__all__ = ["Downloader", "Resizer"]

img2dataset.downloader.urllib = SimpleNamespace(request=HttpClient)
img2dataset.resizer.SuppressStdoutStderr = contextlib.nullcontext
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
