"""Images and texts to embeddings: the model's that is measured, CLIP's own, and those of the features as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.contract import CorpusShard
from stages.evaluate.benchmark import Benchmark
from stages.evaluate.models import Beside, Models
from stages.evaluate.similarity import Embeddings
from stages.io.image_batches import batches
from stages.models.finite import unit


class Embedded(NamedTuple):
    """The benchmark as every model sees it."""

    own: Embeddings
    """Of the model that is measured."""
    clip: Embeddings | None
    """None where there is no model beside it."""
    mean_pooled: Embeddings | None
    """None likewise."""


class ImageBatch(NamedTuple):
    """Some of a benchmark's images."""

    numbers: Tensor
    """(images,), int64."""
    pixels: Tensor
    """(images, 3, height, width), float32."""
    features: Tensor
    """(images, tokens, width), as the model's image tower gives them."""


def read_images(
    models: Models, shards: Sequence[CorpusShard], benchmark: Benchmark, batch_size: int, without: Collection[str] = ()
) -> Iterator[ImageBatch]:
    """Yield every image of the benchmark once, in the order in which they are stored; one batch is in memory.

    Args:
        models: what encodes them.
        shards: where they lie.
        benchmark: which they are.
        batch_size: images at once.
        without: keys of images that are not to be opened.

    Raises:
        ValueError: images have captions and are not there, or cannot be looked at: a recall without them would be of
            another set.
    """
    seen = 0
    for shard in shards:
        for batch in batches(shard.one("images"), models.retriever.preprocess, batch_size, without):
            for key in benchmark.images.keys() & batch.broken.keys():
                raise ValueError(f"image {key}, which people described, {batch.broken[key]}")
            wanted = [place for place, key in enumerate(batch.keys) if key in benchmark.images]
            if wanted:
                numbers = torch.tensor([benchmark.images[batch.keys[place]] for place in wanted], device=models.device)
                shown = batch.pixels[wanted].to(models.device)
                yield ImageBatch(numbers, shown, models.retriever.encode(shown))
                seen += len(wanted)
    if seen != len(benchmark.images):
        raise ValueError(f"{len(benchmark.images) - seen} image(s) that people described were not downloaded")


def embed(
    models: Models, shards: Sequence[CorpusShard], benchmark: Benchmark, batch_size: int, without: Collection[str] = ()
) -> Embedded:
    """Embed a benchmark; what is kept grows with its images and its texts, (images x queries + texts) x projection.

    Raises:
        UserError: a number is not finite; it would be nearest to everything, or to nothing.
    """
    texts = _embed_texts(models, benchmark, batch_size)
    images: list[tuple[Tensor, Tensor]] = []
    beside = _Beside(models, models.beside, benchmark, batch_size) if models.beside is not None else None
    for batch in read_images(models, shards, benchmark, batch_size, without):
        images.append((batch.numbers, models.retriever.embed_images(batch.features)))
        if beside is not None:
            beside.add(batch)
    own = Embeddings(_in_order(images), texts)
    found = {f"{models.words}'s images": own.images, f"{models.words}'s texts": texts}
    for what, rows in (found | (beside.found() if beside else {})).items():
        models.numbers.check_all(rows, f"embeddings of {what}")
    if beside is None:
        return Embedded(own, None, None)
    return Embedded(own, Embeddings(beside.whole, beside.texts), Embeddings(beside.averaged, beside.texts))


def _in_order(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows that come with their numbers, by these."""
    numbers, rows = (torch.cat(part) for part in zip(*parts, strict=True))
    return rows[numbers.argsort()]


class _Beside:
    """What is measured without a Q-Former, in the space of the tower's own model."""

    def __init__(self, models: Models, beside: Beside, benchmark: Benchmark, batch_size: int) -> None:
        self._pool = beside.pool
        self._clip = clip = beside.clip
        self.texts = torch.cat(
            [
                clip.embed_texts([clip.prepare(text) for text in benchmark.written[first : first + batch_size]])
                for first in range(0, len(benchmark.texts), batch_size)
            ]
        )
        self.whole = torch.empty(len(benchmark.images), 1, self.texts.shape[1], device=models.device)
        self.averaged = torch.empty_like(self.whole)

    def add(self, batch: ImageBatch) -> None:
        """Embed some images."""
        self.whole[batch.numbers, 0] = self._clip.embed_images(batch.pixels)
        self.averaged[batch.numbers, 0] = unit(self._pool(batch.features).float())

    def found(self) -> dict[str, Tensor]:
        """All embeddings, by what they are of."""
        return {"CLIP's images": self.whole, "CLIP's texts": self.texts, "mean features": self.averaged}


def _embed_texts(models: Models, benchmark: Benchmark, batch_size: int) -> Tensor:
    """By the model itself, (texts, projection)."""
    read = []
    for first in range(0, len(benchmark.texts), batch_size):
        text = models.retriever.tokens(benchmark.texts[first : first + batch_size]).to(models.device)
        read.append(models.retriever.embed_texts(text.cut(int(text.longest))))
    return torch.cat(read)
