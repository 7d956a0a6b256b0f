"""Images from the web, by img2dataset's own downloader of one shard."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeAlias

from stages.download.fetch import Fetch
from stages.download.fit import Fit
from stages.download.hosts import Hosts
from stages.download.http_client import HttpClient
from stages.download.library import downloader, feed
from stages.download.messages import Answer
from stages.download.resolver import Resolver
from stages.download.rows import Outcome, Row
from stages.download.spec import DownloadRecipe, DownloadRun
from stages.download.spool import Spool
from stages.download.statuses import parse
from stages.download.urls import request_url
from stages.removals import Removals

Resized: TypeAlias = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]
"""What img2dataset stores: image, width, height, original width, original height (pixels), error."""

_LOST = Outcome("error", "img2dataset lost this row")


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
        self.outcomes[meta["row"]] = Outcome("success", **sizes)

    def close(self) -> None:
        """Nothing to close: the spool is read after."""


class _Came:
    """A body, and what becomes of it; as much of a file as img2dataset needs."""

    def __init__(self, body: IO[bytes], answer: Answer) -> None:
        self.read, self.seek, self.close = body.read, body.seek, body.close
        self._answer = answer

    def resized(self, _boxes: object = None) -> Resized:
        """What img2dataset's own resizer would say."""
        answer = self._answer
        if answer.sizes is None:
            return None, None, None, None, None, f"{answer.status}: {answer.words}"
        return answer.content or self.read(), *answer.sizes, None


class _FetchAndFit:
    """What the threads of img2dataset's pool do for a row: they fetch it, and have it decoded, several at a time."""

    def __init__(self, fetch: Fetch, fit: Fit) -> None:
        self._fetch = fetch
        self._fit = fit

    def __call__(self) -> tuple[int, _Came | None, str | None]:
        row, body, error = self._fetch()
        if body is None:
            return row, None, error
        try:
            return row, _Came(body, self._fit.body(body)), None
        except Exception as failure:  # noqa: BLE001 - of more than a row; the pool would hang if a thread raised it
            body.close()
            self._fetch.failure = failure
            return row, None, f"error: {failure}"


class Web:
    """Fetches rows by their URL. How long a shard takes at most is said in `hosts`."""

    def __init__(self, recipe: DownloadRecipe, run: DownloadRun, fit: Fit) -> None:
        self._recipe = recipe
        self._run = run
        self._fit = fit
        self._user_agent = user_agent(recipe.user_agent, run.contact)

    def __call__(self, rows: Sequence[Row], spool: Spool, scratch: Path, removals: Removals) -> dict[int, Outcome]:
        """What became of every row, by its index; the images are in the spool.

        Raises:
            OSError: the images could not be put down (a full disk).
        """
        urls = {row.index: url for row in rows if (url := request_url(row.url)) is not None}
        outcomes = {row.index: _refused_url(row) for row in rows if row.index not in urls}
        if urls:
            outcomes |= dict.fromkeys(urls, _LOST) | self._fetch_all(urls, spool, scratch, removals)
        return outcomes

    def _fetch_all(
        self, urls: Mapping[int, str], spool: Spool, scratch: Path, removals: Removals
    ) -> dict[int, Outcome]:
        folder = scratch / "img2dataset"  # it leaves a stats file there
        folder.mkdir()
        sink = _Sink(spool)
        fetch = self._fetch(urls, folder, removals)
        crawl = downloader(
            _FetchAndFit(fetch, self._fit),
            writer=sink,
            resizer=_Came.resized,
            folder=folder,
            threads=self._run.threads,
            count=len(urls),
        )
        # Not `crawl(...)`: that one prints what went wrong with the shard and returns False.
        crawl.download_shard((0, feed(list(urls), folder)))
        shutil.rmtree(folder)
        if failure := sink.failure or fetch.failure:
            raise failure
        sums = {row: fetch.sums[place] for place, row in enumerate(urls) if place in fetch.sums}
        return {
            row: replace(outcome, **sums[row]) if outcome.status == "success" else outcome
            for row, outcome in sink.outcomes.items()
        }

    def _fetch(self, urls: Mapping[int, str], folder: Path, removals: Removals) -> Fetch:
        recipe, run = self._recipe, self._run
        places = dict(enumerate(urls.values()))  # img2dataset knows a row by its place in the feed
        hosts = Hosts(
            places,
            threads=run.host_threads,
            failures=recipe.host_failures,
            retries=recipe.retries,
            seconds=recipe.shard_seconds,
            row_seconds=recipe.max_seconds,
        )
        client = HttpClient(
            recipe,
            user_agent=self._user_agent,
            resolver=Resolver(),
            scratch=folder,
            is_removed=removals.has_url,
        )
        return Fetch(recipe, hosts, client)


def user_agent(token: str, contact: str | None) -> str:
    """How the crawler introduces itself, in the form that crawlers have in common."""
    about = f"; +{contact}" if contact else ""
    return f"Mozilla/5.0 (compatible; {token}/{version('capfilt')}{about})"


def _refused_url(row: Row) -> Outcome:
    return Outcome("invalid_url", "no http(s) address" if row.url and row.url.strip() else "no address")
