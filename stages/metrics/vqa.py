"""VQA accuracy: how many of ten people agree with an answer (Antol et al. 2015, arXiv 1505.00468, section 5).

As the public evaluation code computes it, whose quirks are part of every number that was published: it takes away 32
full stops at most, and of people's answers it cleans only the punctuation, and only where the ten are not all equal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from stages.metrics.contractions import CONTRACTIONS

ENOUGH: Final = 3
"""Of the other people so many have to agree for an answer to be right."""
MOST_STOPS: Final = 32
"""Full stops that are taken away: `re.UNICODE`, which stands in that code where a count belongs."""
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_NUMBER: Final = re.compile(r"\d,\d")
_STOP: Final = re.compile(r"\.(?!\d)")
_DIGITS: Final = {
    word: str(number)
    for number, words in enumerate(
        ("none zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
    for word in words.split()
}
_ARTICLES: Final = frozenset({"a", "an", "the"})


def vqa_accuracy(answer: str, given: Mapping[str, int]) -> float:
    """How right an answer is, in [0, 1].

    For each person: whether three of the others gave that answer, or the part of three that did; the mean over all.

    Args:
        answer: as a model wrote it.
        given: how many people gave each of their answers; there is at least one.
    """
    people = sum(given.values())
    agreed = Counter[str]()
    for said, count in given.items():
        agreed[normalise_punctuation(said) if len(given) > 1 else said] += count
    same = agreed[normalise(answer)]
    others, own = (min(1.0, matches / ENOUGH) for matches in (same, max(0, same - 1)))
    return ((people - same) * others + same * own) / people


def normalise(answer: str) -> str:
    """A model's answer as it is compared with people's."""
    text = normalise_punctuation(answer.replace("\n", " ").replace("\t", " ").strip())
    digits = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in digits if word not in _ARTICLES)


def normalise_punctuation(text: str) -> str:
    """Marks go, or become blanks.

    A mark goes where it has a blank beside it anywhere in the text; all marks go where a comma stands between digits.
    """
    found = text
    for mark in _PUNCTUATION:
        goes = f"{mark} " in text or f" {mark}" in text or _NUMBER.search(text) is not None
        found = found.replace(mark, "" if goes else " ")
    return _STOP.sub("", found, count=MOST_STOPS)
