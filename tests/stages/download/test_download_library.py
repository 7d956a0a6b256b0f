"""img2dataset as the download stage uses it: every downloader fetches in its own way, and the library stays whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.download import library


class Writer:
    """Keeps what it is given, and does something else with each row."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.found: list[tuple[int, str]] = []
        self._meanwhile = meanwhile

    def write(self, _image: None, _key: str, _caption: None, meta: dict[str, Any]) -> None:
        self._meanwhile()
        self.found.append((meta["row"], meta["error_message"]))

    def close(self) -> None:
        """Nothing to do."""


def crawl(folder: Path, words: str, meanwhile: Callable[[], None] = lambda: None) -> list[tuple[int, str]]:
    """What the writer is given of two rows that are numbered 5 and 7, whose fetch answers the second one first."""
    folder.mkdir()
    writer, places = Writer(meanwhile), iter([1, 0])
    made = library.downloader(
        lambda: (next(places), None, words), writer=writer, resizer=print, folder=folder, threads=1, count=2
    )
    made.download_shard((0, library.feed([5, 7], folder)))
    return writer.found


def test_two_downloaders_at_a_time_share_nothing(tmp_path: Path) -> None:
    inner: list[tuple[int, str]] = []
    outer = crawl(tmp_path / "outer", "outer", lambda: inner.extend(crawl(tmp_path / f"{len(inner)}", "inner")))
    assert outer == [(7, "outer"), (5, "outer")]
    assert inner == [(7, "inner"), (5, "inner")] * 2


def test_whoever_else_imports_img2dataset_has_it_whole() -> None:
    assert library._SPEC.name not in ("img2dataset", "img2dataset.downloader")
    package = sys.modules.get("img2dataset")
    assert package is None or hasattr(package, "download")


def test_an_img2dataset_that_fetches_in_another_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "FETCH", "download_otherwise")
    with pytest.raises(ImportError, match=r"downloader\.py has no download_otherwise; install"):
        crawl(tmp_path / "it", "")
