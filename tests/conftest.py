"""What every test shares: nothing leaves the machine, and Ray keeps its things in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.s3_server import BUCKET, S3Server
from tests.workers import ByGroup, group_of

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: the models are too small for more, and workers share
# one token for all clusters of this process, which Ray reads once; without it Ray would write one into the home folder
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
# no test asserts a time: the machine may be busy
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with Ray's tests, which take longest."""
    items.sort(key=lambda item: group_of(item.nodeid) != "ray")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup:
    return ByGroup(config, log)


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
