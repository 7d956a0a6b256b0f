"""What is measured, on numbers and words alone."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from statistics import fmean

PLAIN = frozenset(
    [
        *("and", "are", "for", "from", "has", "have", "its", "one", "some", "that", "the", "there", "this", "two"),
        *("very", "with", "which", "who", "you", "your", "photo", "picture", "image"),
    ]
)
"""Words of three letters and more that say nothing of a picture."""


def content_words(text: str) -> set[str]:
    """The words of a text that say something, in lower case and without a plural's s."""
    words = re.findall(r"[a-z]+", text.lower())
    return {re.sub(r"(?<=[^s])s$", "", word) for word in words if len(word) > 2 and word not in PLAIN}


def share_in_common(texts: Sequence[str], truths: Sequence[str]) -> float:
    """Share of the texts that have a content word of their truth."""
    return fmean(bool(content_words(text) & content_words(truth)) for text, truth in zip(texts, truths, strict=True))


def shuffled(texts: Sequence[str], times: int, seed: int = 0) -> list[list[str]]:
    """So many orders of the texts, in each of which no place has a text equal to its own."""
    drawn = random.Random(seed)
    places = list(range(len(texts)))
    return [[_other(drawn, texts, at) for at in places] for _ in range(times)]


def _other(drawn: random.Random, texts: Sequence[str], at: int) -> str:
    while (text := drawn.choice(texts)) == texts[at]:
        pass
    return text


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Probability that a right one scores above a wrong one, a tie counting half."""
    return fmean((a > b) + (a == b) / 2 for a in right for b in wrong)
