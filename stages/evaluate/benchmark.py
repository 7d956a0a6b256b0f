"""A set to measure on: its images, its captions, and which belong together.

Images of the same bytes are one image, and captions that read the same once they are cleaned are one text: nobody could
tell them apart, so whatever belongs to one of them is right for all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.candidates import read_candidates
from stages.contract import CorpusShard
from stages.errors import UserError
from stages.models.blip.text import QFORMER_MAX_WORDS, clean


@dataclass(frozen=True)
class Benchmark:
    """Images and texts by number, each with at least one of the other that is right for it."""

    images: dict[str, int]
    """The key of every image to its number; of equal images the first one's."""
    texts: tuple[str, ...]
    """As the Q-Former reads them; BLIP reads the first 30 words."""
    written: tuple[str, ...]
    """The same as people wrote them, which is what CLIP reads; of several ways the first in alphabetical order."""
    codes: Tensor
    """(pairs,), int64, ascending: image * texts + text of all that belong together."""

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Image and text of all that belong together; (pairs,), int64, each."""
        return self.codes // len(self.texts), self.codes % len(self.texts)

    def is_right(self, images: Tensor, texts: Tensor) -> Tensor:
        """Whether images and texts belong together.

        Args:
            images: numbers, int64.
            texts: numbers, int64, of a shape that fits the images'.

        Returns:
            Bool, of their common shape.
        """
        asked, codes = images * len(self.texts) + texts, self.codes.to(images.device)
        place = torch.searchsorted(codes, asked).clamp_max(len(codes) - 1)
        return codes[place] == asked


def read_benchmark(source: str, shards: Iterable[CorpusShard], broken: Collection[str] = ()) -> Benchmark:
    """Read the tables of a source's shards; images without a caption are left out.

    Args:
        source: its name, for messages.
        shards: its shards.
        broken: keys of images that cannot be decoded; they are left out too.

    Raises:
        UserError: there are not two images and two texts to tell apart.
    """
    keys: dict[str, int] = {}
    images: dict[str, int] = {}
    texts: dict[str, int] = {}
    written: dict[str, str] = {}
    pairs: set[tuple[int, int]] = set()
    for shard in shards:
        digests = _digests(shard)
        for row in read_candidates(shard, ["caption"]).to_pylist():
            digest, caption = digests[row["key"]], row["caption"]
            if row["key"] in broken or not (text := clean(caption, QFORMER_MAX_WORDS)):
                continue
            if digest not in images:
                images[digest] = keys[row["key"]] = len(images)
            number = texts.setdefault(text, len(texts))
            written[text] = min(caption, written.get(text, caption))
            pairs.add((images[digest], number))
    if min(len(images), len(texts)) < 2:
        raise UserError(
            f"sources.{source}: it has {len(images)} image(s) and {len(texts)} caption(s) that differ; "
            f"at least two of each are needed: the view `funnel` shows where the others were lost"
        )
    codes = torch.tensor([image * len(texts) + text for image, text in pairs]).sort().values
    return Benchmark(keys, tuple(texts), tuple(written.values()), codes)


def _digests(shard: CorpusShard) -> dict[str, str]:
    """What equal images have in common, by key: the hash of their bytes, or the key where nobody took it."""
    return {row["key"]: row["sha256"] or row["key"] for row in shard.one("images").table(["key", "sha256"]).to_pylist()}
