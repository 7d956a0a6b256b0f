"""What every test shares: nothing leaves the machine, Ray has a folder of its own, and workers have groups."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, S3Server

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: the models are too small for more, and workers share
# one token for all clusters of this process, which Ray reads once; without it Ray would write one into the home folder
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the groups that `pytest -n 2 --dist loadgroup` hands to its workers, and begin with the longest.

    A module stays whole, since its tests share what they set up. All tests that start a Ray are one group, so that
    there are never two at a time.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            group = "ray" if item.get_closest_marker("ray") else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(scope="session")
def ray_home() -> Iterator[Path]:
    """A short-named folder for Ray's sockets and logs: socket paths may have 107 characters only."""
    folder = Path(tempfile.mkdtemp(prefix="cf-", dir="/tmp"))
    os.environ["RAY_TMPDIR"] = str(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that speaks S3, for all tests of the session."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_folder(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty `s3://` folder, with the environment that leads there."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
