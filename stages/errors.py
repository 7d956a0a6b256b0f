"""The exceptions that are meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: the message says in one line what is wrong, where, and what to do. No traceback."""


class BrokenFileError(UserError):
    """A file of a list cannot be read. It is told with its name, and the list's other files go on without it."""


class DamagedError(UserError):
    """A file of the output is not what was written there. What depends on it waits; all else goes on."""

    def __init__(self, url: str, error: object, also: str = "") -> None:
        self.url = url
        reason = " ".join(str(error).split())
        super().__init__(
            f"{url} is damaged ({reason or type(error).__name__}); delete it{also}, and `capfilt run` makes it anew"
        )

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        return UserError, (str(self),)  # between processes its words are all that counts
