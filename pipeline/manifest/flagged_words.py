"""The words that somebody wants to have tagged wherever they stand in a text (`pipeline.sql.text_flags`)."""

from __future__ import annotations

from stages.errors import UserError
from stages.io.files import open_bytes


def read_words(url: str | None) -> tuple[str, ...]:
    """The words and phrases of a file in UTF-8, one a line; a line that begins with `#` is a remark. None: no file.

    Raises:
        UserError: it cannot be read.
    """
    if url is None:
        return ()
    try:
        with open_bytes(url) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        what = "name a text in UTF-8 with a word or phrase a line"
        raise UserError(f"flagged_words: {url} cannot be read ({reason}); {what}") from None
    words = (" ".join(line.split()) for line in lines if not line.startswith("#"))
    return tuple(dict.fromkeys(filter(None, words)))
