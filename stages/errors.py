"""The exceptions that are meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: the message says in one line what is wrong, where, and what to do. No traceback."""


class BrokenFileError(UserError):
    """A file of a list cannot be read. It is told with its name, and the list's other files go on without it."""
