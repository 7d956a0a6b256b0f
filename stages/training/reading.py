"""Pictures of a corpus to pixels, several at a time; for one that cannot be decoded another one stands in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from stages.pictures import PictureError, decode
from stages.training.broken import Broken, Turn
from stages.training.corpus import Corpus
from stages.training.examples import Example
from stages.training.order import Draw

Prepare = Callable[[Example, Image.Image, int], Tensor]
"""(example, RGB image, epoch) to pixels."""


class Reader:
    """Reads and decodes in threads of its own."""

    def __init__(self, readers: int, *, pinned: bool = False) -> None:
        self.broken = Broken()
        """What could not be read so far."""
        self._pinned = pinned
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read")

    def read(self, turns: Sequence[tuple[Example, int]], prepare: Prepare) -> Tensor | None:
        """Pixels of examples at their epochs, (images, 3, height, width), float32, on the CPU.

        None if one of them cannot be decoded, which the download stage rules out for pictures that did not change
        since; `broken` then knows which.
        """
        found = list(self._pool.map(lambda turn: self._open(turn[0], turn[1], prepare), turns))
        whole = [one for one in found if one is not None]
        if len(whole) < len(found):
            return None
        pixels = torch.stack(whole)
        return pixels.pin_memory() if self._pinned else pixels

    def drawn(self, corpus: Corpus, draws: Sequence[Draw], prepare: Prepare) -> tuple[list[Turn], Tensor]:
        """The images that were drawn, or those that stand in for them, and their pixels."""
        while True:
            turns = [self.broken.turn(corpus, draw) for draw in draws]
            pixels = self.read([(turn.example, turn.epoch) for turn in turns], prepare)
            if pixels is not None:
                return turns, pixels

    def _open(self, example: Example, epoch: int, prepare: Prepare) -> Tensor | None:
        try:
            image = decode(example.member.read())
        except PictureError as error:
            self.broken.add(example, error)
            return None
        return prepare(example, image, epoch)
