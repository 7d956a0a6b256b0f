"""One row after another, each within its own time: what the threads of img2dataset's downloader do."""

from __future__ import annotations

from typing import IO

from stages.download.deadline import Deadline
from stages.download.hosts import Hosts, Turn
from stages.download.http_client import HttpClient
from stages.download.library import Fetched
from stages.download.spec import DownloadRecipe
from stages.download.statuses import RefusedError


class Fetch:
    """Fetches whichever row's turn it is; called once per row, from any thread."""

    def __init__(self, recipe: DownloadRecipe, hosts: Hosts, client: HttpClient) -> None:
        self._recipe = recipe
        self._hosts = hosts
        self._client = client
        self.failure: Exception | None = None
        """What is wrong with more than a row; to be raised after, since the pool hangs if a thread of it raises."""

    def __call__(self) -> Fetched:
        """The row, and its image or the words that `statuses.parse` understands."""
        turn = self._hosts.take()
        refusal = turn.refusal
        try:
            return turn.row, self._image(turn), None
        except RefusedError as error:
            refusal = error
            return turn.row, None, str(error)
        except Exception as error:  # noqa: BLE001 - see above
            self.failure = error
            return turn.row, None, str(RefusedError("error", str(error)))
        finally:
            self._hosts.done(turn, refusal)

    def _image(self, turn: Turn) -> IO[bytes]:
        if self.failure is not None:
            raise self.failure
        if turn.refusal is not None:
            raise turn.refusal
        until = Deadline(self._recipe.max_seconds, self._recipe.timeout)
        for _ in range(self._recipe.retries):
            try:
                return self._client.fetch(turn.url, until)
            except RefusedError as error:
                if not error.passing:
                    raise
        return self._client.fetch(turn.url, until)
