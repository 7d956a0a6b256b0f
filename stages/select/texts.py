"""When two captions are the same text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

EMPTY: Final = -1


def text_codes(captions: Iterable[str | None]) -> NDArray[np.int64]:
    """A number per caption, equal where the texts are the same; `EMPTY` where there is none.

    Same means: equal up to case and whitespace, as Unicode has both (which Arrow's string functions do not).
    """
    codes = {"": EMPTY}
    numbers = (codes.setdefault(" ".join((text or "").split()).casefold(), len(codes)) for text in captions)
    return np.fromiter(numbers, np.int64)
