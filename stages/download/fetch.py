"""One row after another, each within its own time: what the threads of img2dataset's downloader do."""

from __future__ import annotations

from typing import IO

from stages.download.checksums import Sums
from stages.download.deadline import Deadline
from stages.download.hosts import Hosts
from stages.download.http_client import OF_THE_WORKER, Body, HttpClient, Redirect
from stages.download.spec import DownloadRecipe
from stages.download.statuses import RefusedError
from stages.download.turns import Request, Turn


class Fetch:
    """Makes whichever request's turn it is, until a row is done with; called once per row, from any thread."""

    def __init__(self, recipe: DownloadRecipe, hosts: Hosts, client: HttpClient) -> None:
        self._recipe = recipe
        self._hosts = hosts
        self._client = client
        self.sums: dict[int, Sums] = {}
        """Of the bytes of every row that came."""
        self.failure: Exception | None = None
        """What is wrong with more than a row: nothing is begun any more. To be raised after, since the pool hangs if a
        thread of it raises."""

    def __call__(self) -> tuple[int, IO[bytes] | None, str | None]:
        """A row, and its image or the words that `statuses.parse` understands."""
        while True:
            if self.failure is not None:
                self._hosts.stop()
            turn = self._hosts.take()
            result = self._make(turn)
            if isinstance(result, Redirect):
                self._hosts.moved(turn, result.url)
            elif isinstance(result, Body):
                self._hosts.done(turn, None)
                return self._came(turn.request.row, result)
            elif self._hosts.done(turn, result):
                return turn.request.row, None, str(result)

    def _came(self, row: int, body: Body) -> tuple[int, IO[bytes], None]:
        self.sums[row] = body.sums
        return row, body.file, None

    def _make(self, turn: Turn) -> Body | Redirect | RefusedError:
        if turn.refusal is not None:
            return turn.refusal
        try:
            return self._ask(turn.request)
        except RefusedError as error:
            return error
        except OF_THE_WORKER as error:
            self.failure = error
            return RefusedError("error", str(error))

    def _ask(self, request: Request) -> Body | Redirect:
        until = Deadline(request.left, self._recipe.timeout)
        try:
            result = self._client.fetch(request.url, until)
        finally:
            request.left = until.left()
        if isinstance(result, Redirect) and request.redirects == self._recipe.max_redirects:
            raise RefusedError("http_other", f"more than {self._recipe.max_redirects} redirects")
        return result
