"""Images and texts to embeddings: the Q-Former's, CLIP's own, and those of the features as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.contract import CorpusShard
from stages.evaluate.benchmark import Benchmark
from stages.evaluate.models import Models
from stages.evaluate.similarity import Embeddings
from stages.io.image_batches import batches
from stages.models.family import DualEncoder
from stages.models.finite import unit


class Embedded(NamedTuple):
    """The benchmark as every model sees it."""

    qformer: Embeddings
    clip: Embeddings | None
    """None of a tower of images alone, which shares no space with texts."""
    mean_pooled: Embeddings | None
    """None likewise."""


class ImageBatch(NamedTuple):
    """Some of a benchmark's images."""

    numbers: Tensor
    """(images,), int64."""
    pixels: Tensor
    """(images, 3, height, width), float32."""
    features: Tensor
    """(images, tokens, width), of the frozen tower."""


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
        for batch in batches(shard.one("images"), models.view.preprocess, batch_size, without):
            for key in benchmark.images.keys() & batch.broken.keys():
                raise ValueError(f"image {key}, which people described, {batch.broken[key]}")
            wanted = [place for place, key in enumerate(batch.keys) if key in benchmark.images]
            if wanted:
                numbers = torch.tensor([benchmark.images[batch.keys[place]] for place in wanted], device=models.device)
                shown = batch.pixels[wanted].to(models.device)
                yield ImageBatch(numbers, shown, models.tower(shown))
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
    size, config = len(benchmark.images), models.qformer.config
    images = torch.empty(size, config.queries, config.projection, device=models.device)
    beside = _Beside(models, models.clip, benchmark, batch_size) if models.clip is not None else None
    for batch in read_images(models, shards, benchmark, batch_size, without):
        with models.autocast():
            images[batch.numbers] = models.qformer.embed_image(
                models.qformer.encode_image(models.qformer.look(batch.features))
            )
        if beside is not None:
            beside.add(batch)
    found = {"the Q-Former's images": images, "the Q-Former's texts": texts}
    for what, rows in (found | (beside.found() if beside else {})).items():
        models.numbers.check_all(rows, f"embeddings of {what}")
    own = Embeddings(images, texts)
    if beside is None:
        return Embedded(own, None, None)
    return Embedded(own, Embeddings(beside.whole, beside.texts), Embeddings(beside.averaged, beside.texts))


class _Beside:
    """What is measured without a Q-Former, in the space of the tower's own model."""

    def __init__(self, models: Models, clip: DualEncoder, benchmark: Benchmark, batch_size: int) -> None:
        self._tower = models.tower
        self._clip = clip
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
        self.averaged[batch.numbers, 0] = unit(self._tower.pool(batch.features).float())

    def found(self) -> dict[str, Tensor]:
        """All embeddings, by what they are of."""
        return {"CLIP's images": self.whole, "CLIP's texts": self.texts, "mean features": self.averaged}


def _embed_texts(models: Models, benchmark: Benchmark, batch_size: int) -> Tensor:
    """By the Q-Former, (texts, projection)."""
    read = []
    for first in range(0, len(benchmark.texts), batch_size):
        with models.autocast():
            text = models.tokens(benchmark.texts[first : first + batch_size]).to(models.device)
            rows = models.qformer.encode_text(text.cut(int(text.longest)))
            read.append(models.qformer.embed_text(rows))
    return torch.cat(read)
