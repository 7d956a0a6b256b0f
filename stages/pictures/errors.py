"""Why there are no pixels to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import UnidentifiedImageError

from stages.words import one_line

MAX_MEMORY: Final = 800 * 2**20
"""Bytes that decoding a picture may take; a baseline JPEG of 100 million pixels takes half of it."""


class PictureError(ValueError):
    """Bytes that are no picture, or no whole one; its words are one line, the same in every run."""

    def __init__(self, words: str) -> None:
        super().__init__(one_line(words))


class TooLargeError(PictureError):
    """A picture that would take more memory or work to decode than it may."""


@contextmanager
def refusing(formats: tuple[str, ...]) -> Iterator[None]:
    """Whatever goes wrong with the bytes of a stranger is a `PictureError`."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError as error:  # its words hold a memory address and nothing else
        raise PictureError(f"none of {', '.join(formats)}") from error
    except MemoryError as error:
        raise TooLargeError(f"decoding it takes more than {MAX_MEMORY >> 20} MiB") from error
    except Exception as error:  # decoders raise whatever they like on malformed input
        raise PictureError(one_line(error)) from error
