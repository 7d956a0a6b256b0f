"""Which files a path stands for on a filesystem that is not this disk's: as on the disk, and nothing unseen."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from stages.errors import UserError
from stages.urls.find import find

FILES = ("0.csv", "a/1.csv", "a/b/2.csv", "a/b/c/3.csv", "a/b/2.txt", "d/b/4.csv", "d/5.CSV", "a/.6.csv")


@pytest.mark.parametrize(
    "pattern",
    [
        "*.csv",
        "a/*.csv",
        "a/*",
        "*/b/*.csv",
        "a/**/*.csv",
        "**/b/*.csv",
        "**",
        "a/**",
        "?/b/[24].csv",
        "a/.*",
        "[!a]/*",
        "x/*.csv",
    ],
)
def test_a_glob_matches_elsewhere_what_it_matches_on_a_disk(pattern: str, tmp_path: Path) -> None:
    folder = f"memory://{tmp_path}"
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        fsspec.filesystem("memory").pipe_file(f"{tmp_path}/{name}", name.encode())
    found = find(f"{folder}/{pattern}", None)
    expected = [name for name in glob.glob(f"{tmp_path}/{pattern}", recursive=True) if os.path.isfile(name)]  # noqa: PTH113, PTH207
    assert found == sorted(f"memory://{name}" for name in expected)
    assert find(f"{tmp_path}/{pattern}", None) == sorted(expected)


@pytest.mark.parametrize("path", ["a/b/0.csv", "a/*/0.csv", "a/**/0.csv", "a/b", "a/{b,c}/0.csv"])
@pytest.mark.parametrize("error", [PermissionError("Access Denied"), TimeoutError("no answer")])
def test_what_cannot_be_looked_at_is_not_taken_for_missing(
    path: str, error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{tmp_path}/a/b/0.csv", b"url")

    def fail_below(method: str) -> None:
        real = getattr(type(memory), method)

        def fails(self: object, inner: str, *args: Any, **settings: Any) -> Any:
            if inner.rstrip("/").endswith(("/a/b", "/a/c", "0.csv")):
                raise error
            return real(self, inner, *args, **settings)

        monkeypatch.setattr(type(memory), method, fails)

    fail_below("info")
    fail_below("ls")
    with pytest.raises(UserError, match=str(error)):
        find(f"memory://{tmp_path}/{path}", ("*.csv",))
