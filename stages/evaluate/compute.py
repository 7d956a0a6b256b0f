"""The evaluate stage's compute: image-text retrieval, and what to hold it against.

On every set, image to text and text to image, the rank of every query's best right answer by

- the Q-Former as BLIP-2 measures it: ITC over all pairs, the best `top_k` ranked anew by ITM logit + ITC cosine,
- the Q-Former's ITC alone,
- the CLIP whose image tower it reads, zero-shot, with its own text tower,
- the same features without a Q-Former: the mean over the tokens that it reads, through the tower's own last norm and
  projection, against CLIP's text embeddings. Features have no text of their own to be compared with; CLIP's is the one
  space that they share with texts untrained, and an untrained Q-Former in its place would measure nothing but chance,
- a matching model in the same two ways, as BLIP measures it.

Of a tower that has no text tower beside it, such as DINOv2, the third and the fourth are left out.

The view `retrieval` makes recalls of the ranks, and adds those of chance. An image's rank is that of the best of its
captions. Memory grows with the images and the texts, not with the pairs: see
`similarity.compare`. One model is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from stages.contract import CorpusJob, CorpusShard, Output
from stages.evaluate.benchmark import Benchmark, read_benchmark
from stages.evaluate.embed import embed, read_images
from stages.evaluate.models import Models, load_models
from stages.evaluate.readable import find_broken
from stages.evaluate.rerank import rerank
from stages.evaluate.similarity import BothWays, compare, find_candidates
from stages.evaluate.spec import EvaluateRecipe, EvaluateRun
from stages.evaluate.tables import RANKS

Row = dict[str, Any]
"""A row of `tables.RANKS`."""


class Evaluate:
    """Measures every source that it is given, each a set of its own."""

    def __init__(self, recipe: EvaluateRecipe, run: EvaluateRun) -> None:
        self._recipe = recipe
        self._run = run

    @torch.inference_mode()
    def __call__(self, work: CorpusJob) -> Output:
        """Measure.

        Raises:
            UserError: a model is missing, or a set is too small to measure on.
        """
        shards = {name: [shard for shard in work.corpus if shard.source == name] for name in work.sources}
        broken = {name: find_broken(of_source) for name, of_source in shards.items()}
        benchmarks = {name: read_benchmark(name, shards[name], broken[name]) for name in shards}
        measured: dict[str, dict[str, BothWays]] = {name: {} for name in benchmarks}
        for models in load_models(self._recipe, self._run, work.results):
            for name, benchmark in benchmarks.items():
                measured[name] |= self._measure(models, shards[name], benchmark, broken[name])
        rows = [row for name, benchmark in benchmarks.items() for row in _rows(name, benchmark, measured[name])]
        counts = {
            "images": sum(len(benchmark.images) for benchmark in benchmarks.values()),
            "texts": sum(len(benchmark.texts) for benchmark in benchmarks.values()),
        }
        if lost := sum(map(len, broken.values())):
            counts["not_an_image"] = lost
        return Output(pa.Table.from_pylist(rows, schema=RANKS), counts=counts)

    def _measure(
        self, models: Models, shards: Sequence[CorpusShard], benchmark: Benchmark, broken: Collection[str]
    ) -> Mapping[str, BothWays]:
        run = self._run
        embedded = embed(models, shards, benchmark, run.batch_size, broken)
        itc, candidates = find_candidates(embedded.own, benchmark, models.top_k)
        again = read_images(models, shards, benchmark, run.batch_size, broken)
        beside = {"clip_zero_shot": embedded.clip, "mean_pooled": embedded.mean_pooled}
        return {
            f"{models.name}_itm": rerank(models, again, benchmark, candidates, run.pairs),
            f"{models.name}_itc": itc,
            **{model: compare(found, benchmark) for model, found in beside.items() if found is not None},
        }


def _rows(source: str, benchmark: Benchmark, measured: Mapping[str, BothWays]) -> Iterator[Row]:
    asked = list(_queries(benchmark))
    for model, ranks in measured.items():
        found = [*ranks.image_to_text.ranks(), *ranks.text_to_image.ranks()]
        for query, rank in zip(asked, found, strict=True):
            yield {"source": source, "model": model, **query, "rank": rank}


def _queries(benchmark: Benchmark) -> Iterator[Row]:
    """The images and then the texts, each by its number; of each text the image is the first that it is right for."""
    images, texts = (part.tolist() for part in benchmark.pairs)
    keys, of_images, of_texts = list(benchmark.images), Counter(images), Counter(texts)
    for number, key in enumerate(keys):
        yield {"direction": "image_to_text", "key": key, "text": None, "right": of_images[number]}
    first = dict(zip(reversed(texts), reversed(images), strict=True))  # pairs stand in the order of the images
    for text in range(len(benchmark.texts)):
        yield {"direction": "text_to_image", "key": keys[first[text]], "text": text, "right": of_texts[text]}
