"""What every test shares: nothing leaves the machine, and Ray keeps its things in a folder of the test's own."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# one token for all clusters of this process, which Ray reads once; without it Ray would write one into the home folder
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.fixture(scope="session")
def ray_home() -> Iterator[Path]:
    """A short-named folder for Ray's sockets and logs: socket paths may have 107 characters only."""
    folder = Path(tempfile.mkdtemp(prefix="cf-", dir="/tmp"))
    os.environ["RAY_TMPDIR"] = str(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
