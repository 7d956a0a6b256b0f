"""When two captions are the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

EMPTY: Final = -1


def common_form(text: str | None) -> str:
    """What texts have in common that are the same; "" of one that says nothing.

    Same means: equal up to case and whitespace, as Unicode has both (which Arrow's and DuckDB's functions do not).
    """
    return " ".join((text or "").split()).casefold()


def text_codes(captions: Iterable[str | None]) -> NDArray[np.int64]:
    """A number per caption, equal where the texts are the same; `EMPTY` where there is none."""
    codes = {"": EMPTY}
    return np.fromiter((codes.setdefault(common_form(text), len(codes)) for text in captions), np.int64)


def word_counts(captions: Iterable[str | None]) -> NDArray[np.int64]:
    """How many words each caption has: what stands between blanks."""
    return np.fromiter((len((text or "").split()) for text in captions), np.int64)


def distinct(texts: Sequence[str | None]) -> list[str]:
    """The texts without surrounding whitespace; empty ones and exact repetitions are dropped."""
    stripped = ((text or "").strip() for text in texts)
    return list(dict.fromkeys(text for text in stripped if text))
