"""What a language model is given of a caption, and what it is to say."""

from __future__ import annotations

from collections.abc import Sequence

from stages.models.language.model import LanguageModel, Read, joined
from stages.training.order import mix


class Texts:
    """Captions to tokens: whole ones, or in two parts for a model that reads the first and says the second."""

    def __init__(self, language: LanguageModel, prompt: str, limit: int, seed: int) -> None:
        self._language = language
        self._prompt = prompt
        self._limit = limit
        self._seed = seed

    def read(self, captions: Sequence[str], keys: Sequence[str], epochs: Sequence[int]) -> Read:
        """Captions as they are learnt.

        Args:
            captions: of each image one.
            keys: the images'.
            epochs: how often each was learnt from before, by which the parts are drawn anew.
        """
        turns = zip(captions, keys, epochs, strict=True)
        parts = [self._parts(caption, mix("split", self._seed, epoch, key)) for caption, key, epoch in turns]
        given, said = zip(*parts, strict=True)
        return self._language.read([joined(self._prompt, first) for first in given], said, self._limit)

    def _parts(self, caption: str, number: int) -> tuple[str, str]:
        return split(caption, number) if self._language.divides else ("", caption)


def split(text: str, number: int) -> tuple[str, str]:
    """A text in two, behind as many words as one to half of them, each number as likely; behind none of a single word.

    BLIP-2's authors, in LAVIS's issue 139: the place is uniform between the first and the middle. That words are
    counted is our choice, for they do not say it.

    Args:
        text: with one space between two words.
        number: what is drawn by, a whole number far above that of words.
    """
    words = text.split()
    half = len(words) // 2
    first = 1 + number % half if half else 0
    return " ".join(words[:first]), " ".join(words[first:])
