"""Images that turn out not to be decodable: each costs itself, and another image stands in for it.

Who stands in hangs on the corpus alone, so every worker and every resumed training comes to the same.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from stages.errors import UserError
from stages.training.corpus import Corpus
from stages.training.examples import Example
from stages.training.order import Draw

logger = logging.getLogger(__name__)


class Turn(NamedTuple):
    """An image whose turn it is."""

    shard: int
    example: Example
    epoch: int


class Broken:
    """The images that could not be decoded so far. Safe to use from several threads."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def __contains__(self, example: Example) -> bool:
        return example.key in self._keys

    def add(self, example: Example, error: Exception) -> None:
        """Note one, and say so the first time."""
        if example.key not in self._keys:
            self._keys.add(example.key)
            logger.warning(
                "image %s is listed as downloaded but cannot be decoded, and is left out (%d so far): %s",
                example.key,
                len(self._keys),
                error,
            )

    def turn(self, corpus: Corpus, draw: Draw) -> Turn:
        """The image that was drawn, or the next one that is not known to be broken: of its shard, else of the next.

        Raises:
            UserError: there is none.
        """
        shards = corpus.shards
        for step in range(shards):
            shard = (draw.shard + step) % shards
            examples = corpus.training(shard)
            for offset in range(len(examples)):
                example = examples[(draw.image + offset) % len(examples)]
                if example not in self:
                    return Turn(shard, example, draw.epoch)
        raise UserError("training: not one image of the corpus can be decoded; `capfilt status` tells where they lie")
