"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: the message says in one line what is wrong, where, and what to do. No traceback."""
