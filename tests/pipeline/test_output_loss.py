"""An output that can be written no more, in the middle of a run: a line, and the same command goes on."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from picture_web import Web

from pipeline.session import open_session
from tests.pipeline.command import capfilt
from tests.pipeline.test_cli import LOCAL

RUN = (*LOCAL, "--until", "download")


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of four pictures, two a shard."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(f'/{number}')},text" for number in range(4)]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv}}
urls: {shard_size: 2}
download: {image_size: 32, allow_addresses: [127.0.0.1]}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    return tmp_path


@pytest.fixture
def locked() -> Iterator[list[Path]]:
    """Folders that may not be written while they stand here."""
    folders: list[Path] = []
    yield folders
    for path in folders:
        unlock(path)


def lock(path: Path) -> None:
    """Root may write anything but what is immutable."""
    if os.geteuid():
        path.chmod(0o500)
    elif subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable folders, and root may write all others")


def unlock(path: Path) -> None:
    if os.geteuid():
        path.chmod(0o700)
    else:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_run_that_may_write_no_more_says_so_and_goes_on_when_it_may(folder, web, capsys, locked, monkeypatch):
    monkeypatch.setattr("stages.io.outages.PATIENCE", 0.5)

    def lose() -> None:
        if not locked:
            (path,) = Path("out/download").iterdir()
            lock(path)
            locked.append(path)

    web.on_request = lose
    code, _, err = capfilt(capsys, *RUN)
    assert code == 1
    assert "storage answers with errors: PermissionError" in err
    assert err.splitlines()[-1].startswith(f"capfilt: output: {folder / 'out'} can be written no more: PermissionError")
    assert err.splitlines()[-1].endswith("what is committed stays, and the same command goes on")
    unlock(locked[0])
    code, _, err = capfilt(capsys, *RUN)
    assert code == 0, err
    assert all(plan.is_done for plan in open_session(Path("m.yaml"), until="download").plans)


def test_a_run_waits_until_it_may_write_again(folder, web, capsys, locked, monkeypatch):
    monkeypatch.setattr("stages.io.outages.FIRST_PAUSE", 0.1)

    def lose() -> None:
        if not locked:
            (path,) = Path("out/download").iterdir()
            lock(path)
            locked.append(path)
            threading.Timer(0.5, unlock, [path]).start()

    web.on_request = lose
    code, _, err = capfilt(capsys, *RUN)
    assert code == 0, err
    lines = [line for line in err.splitlines() if "storage" in line]
    assert len(lines) == 2
    assert lines[0].startswith("storage answers with errors: PermissionError")
    assert lines[0].endswith("; it is tried again for 10 min")
    assert lines[1] == "storage answers again"


def test_a_run_without_room_for_large_tables_ends_well(folder, capsys, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr("pipeline.run.compact", fail)
    code, _, err = capfilt(capsys, *RUN)
    assert code == 0
    assert "queries will read every small table: IOException: No space left on device" in err
