"""Images from the web, by img2dataset's own downloader of one shard."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pyarrow as pa

from stages.download.fit import Fit
from stages.download.library import Downloader
from stages.download.rows import Outcome, Row
from stages.download.spec import DownloadRecipe
from stages.download.spool import Spool
from stages.download.statuses import parse

_URL_CHARACTERS: Final = "!#$%&'()*+,/:;=?@[]~"
_LOST = Outcome("error", "img2dataset lost this row")


def request_url(url: str | None) -> str | None:
    """The address to ask, with spaces and letters beyond ASCII quoted as a browser does; None unless it is http(s)."""
    address = (url or "").strip()
    try:
        parts = urlsplit(address)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.port == 0:
            return None
    except ValueError:  # a malformed port or IPv6 address
        return None
    scheme_and_host = f"{parts.scheme}://{parts.netloc}"
    if not scheme_and_host.isprintable() or " " in scheme_and_host:
        return None
    return scheme_and_host + quote(parts._replace(scheme="", netloc="").geturl(), _URL_CHARACTERS)


class _Sink:
    """What img2dataset takes for its sample writer: keeps the outcomes by row and spools the images."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.outcomes: dict[int, Outcome] = {}
        self.failure: OSError | None = None

    def write(self, image: bytes | None, _key: str, _caption: str | None, meta: Mapping[str, Any]) -> None:
        if image is None:
            self.outcomes[meta["row"]] = Outcome(*parse(meta["error_message"]))
            return
        try:
            self._spool.put(meta["row"], image)
        except OSError as error:  # img2dataset would print it and go on: a full disk must fail the shard
            self.failure = error
            raise
        sizes = {name: meta[name] for name in ("width", "height", "original_width", "original_height")}
        self.outcomes[meta["row"]] = Outcome("success", sha256=meta["sha256"], **sizes)

    def close(self) -> None:
        """Nothing to close: the spool is read after."""


class Web:
    """Fetches rows by their URL."""

    def __init__(self, recipe: DownloadRecipe, threads: int, fit: Fit) -> None:
        self._recipe = recipe
        self._threads = threads
        self._fit = fit

    def __call__(self, rows: Sequence[Row], spool: Spool, scratch: Path) -> dict[int, Outcome]:
        """What became of every row, by its index; the images are in the spool.

        Raises:
            OSError: the images could not be put down (a full disk).
        """
        urls = {row.index: url for row in rows if (url := request_url(row.url)) is not None}
        outcomes = {row.index: _refused_url(row) for row in rows if row.index not in urls}
        if urls:
            outcomes |= dict.fromkeys(urls, _LOST) | self._fetch(urls, spool, scratch)
        return outcomes

    def _fetch(self, urls: Mapping[int, str], spool: Spool, scratch: Path) -> dict[int, Outcome]:
        folder = scratch / "img2dataset"  # it leaves a stats file there
        folder.mkdir()
        feed = folder / "feed.arrow"
        table = pa.table({"row": pa.array(list(urls), pa.int64()), "url": pa.array(list(urls.values()), pa.string())})
        with pa.OSFile(str(feed), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        sink = _Sink(spool)
        # Not `downloader(...)`: that one prints what went wrong with the shard and returns False.
        self._downloader(sink, folder, len(urls)).download_shard((0, str(feed)))
        shutil.rmtree(folder)
        if sink.failure is not None:
            raise sink.failure
        return sink.outcomes

    def _downloader(self, sink: _Sink, folder: Path, count: int) -> Any:
        recipe = self._recipe
        return Downloader(
            sample_writer_class=lambda *_: sink,
            resizer=self._fit,
            thread_count=min(self._threads, count),
            save_caption=False,
            extract_exif=False,
            output_folder=str(folder),
            column_list=["row", "url"],
            timeout=recipe.timeout,
            number_sample_per_shard=count,
            oom_shard_count=1,
            compute_hash="sha256",
            verify_hash_type=None,
            encode_format=recipe.encode_format,
            retries=recipe.retries,
            user_agent_token=recipe.user_agent_token,
            disallowed_header_directives=recipe.opt_out or None,
        )


def _refused_url(row: Row) -> Outcome:
    return Outcome("invalid_url", "no http(s) address" if row.url and row.url.strip() else "no address")
