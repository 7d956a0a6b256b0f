"""The corpus as a training sees it: every image that has a caption, and where its bytes lie.

All that is held of the whole corpus is how many images each shard has. The images themselves are looked up shard by
shard, a little ahead of their turn, and of the shards looked up the latest stay in memory, about half a kilobyte an
image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from stages.contract import CorpusShard
from stages.errors import UserError
from stages.training.counting import Began, Size
from stages.training.examples import Choice, Example, Row, Sides, is_held_out, read_rows, read_shard
from stages.training.order import Line
from stages.training.settings import TrainingRecipe

WINDOWS = 3
"""How many windows of shards stay in memory per source: the one in use, the next, and one for their borders."""


class Corpus:
    """Shards, of which the images are looked up as they are needed. Safe to call from several threads.

    Their order is that of the shards, and of the sizes, that the training began with. What has gone since is a gap
    that another image of the shard fills, and what has come since is not trained on.
    """

    def __init__(self, shards: Sequence[CorpusShard], began: Began, choice: Choice, window: int) -> None:
        """Take shards.

        Args:
            shards: of all sources, as they are now.
            began: what the training began with.
            choice: what of a shard is trained on.
            window: shards of a source that are used side by side.
        """
        now = {(shard.source, shard.shard): shard for shard in shards}
        self._shards = [now.get(name) for name in began.names]
        self._began = began
        self._choice = choice
        self._window = window
        self._room = WINDOWS * window * len({source for source, _ in began.names})
        self._pool = ThreadPoolExecutor(window, thread_name_prefix="shards")
        self._known: OrderedDict[int, Future[Sides]] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> Size:
        """The images of all shards."""
        return Size(*(sum(counts) for counts in zip(*self._began.sizes, strict=True))) if self._began.sizes else Size()

    @property
    def by_source(self) -> Mapping[str, Size]:
        """Those of every source."""
        return self._began.by_source

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._shards)

    def lines(self, seed: int, slices: Mapping[str, int]) -> list[Line]:
        """The training images, a line per source, in the order of the shards; sources without any are left out.

        Args:
            seed: what the order hangs on.
            slices: see `Line.slices`, by source; 1 where it is not named.
        """
        by_source: dict[str, list[int]] = {}
        for number, ((source, _), size) in enumerate(zip(self._began.names, self._began.sizes, strict=True)):
            if size.training:
                by_source.setdefault(source, []).append(number)
        sizes = [size.training for size in self._began.sizes]
        return [
            Line(
                source,
                tuple(numbers),
                tuple(sizes[number] for number in numbers),
                self._window,
                seed,
                min(slices.get(source, 1), len(numbers)),
            )
            for source, numbers in by_source.items()
        ]

    def training(self, shard: int) -> tuple[Example, ...]:
        """The training images of a shard, by its number."""
        return self._look_up(shard).result().training

    def training_rows(self) -> Iterator[Row]:
        """The training images of all shards, before their bytes are found."""
        for shard in filter(None, self._shards):
            rows = read_rows(shard, self._choice).taken
            yield from (row for row in rows if not is_held_out(row.identity, self._choice.holdout))

    def expect(self, shards: Iterable[int]) -> None:
        """Begin to look shards up that will be asked for."""
        for shard in shards:
            self._look_up(shard)

    def _look_up(self, shard: int) -> Future[Sides]:
        """The shard, now or soon; the one that was not asked for longest is forgotten for it."""
        with self._lock:
            if shard not in self._known:
                self._known[shard] = self._pool.submit(self._read, shard)
            self._known.move_to_end(shard)
            if len(self._known) > self._room:
                self._known.popitem(last=False)
            return self._known[shard]

    def _read(self, shard: int) -> Sides:
        found = self._shards[shard]
        return Sides((), ()) if found is None else read_shard(found, self._choice)

    def has_two(self) -> bool:
        """Whether at least two training images are different; looks no further than the first that is."""
        shards = (number for number, size in enumerate(self._began.sizes) if size.training)
        identities = (example.identity for shard in shards for example in self.training(shard))
        first = next(identities, None)
        return any(identity != first for identity in identities)

    def held_out(self, limit: int) -> list[Example]:
        """Images that are kept back, at most `limit`, of every source its share."""
        wanted = self._shares(limit)
        found: list[Example] = []
        for number, (source, _) in enumerate(self._began.names):
            if self._began.sizes[number].holdout and wanted[source]:
                taken = self._read(number).holdout[: wanted[source]]
                wanted[source] -= len(taken)
                found += taken
        return found

    def _shares(self, limit: int) -> dict[str, int]:
        """How many of each source are taken of what is kept back."""
        kept: dict[str, int] = {}
        for (source, _), size in zip(self._began.names, self._began.sizes, strict=True):
            kept[source] = kept.get(source, 0) + size.holdout
        total, left, shares = sum(kept.values()), min(limit, sum(kept.values())), {}
        for source, own in kept.items():
            shares[source] = left * own // total if total else 0
            total, left = total - own, left - shares[source]
        return shares


def check_corpus(key: str, corpus: Corpus, recipe: TrainingRecipe) -> None:
    """See that there is something to learn from, and to measure with.

    Raises:
        UserError: there is not, or the mixture names other sources.
    """
    training, kept_back = corpus.size.training, corpus.size.holdout
    if not corpus.has_two():
        raise UserError(
            f"{key}: the corpus has {training} image(s) to train on (and {kept_back} held out); "
            f"at least two different ones are needed: the view `funnel` shows where the others were lost"
        )
    if recipe.holdout and kept_back < 2:
        raise UserError(
            f"{key}.holdout: {recipe.holdout:g} of {training + kept_back} images are {kept_back}; "
            f"at least two are needed: raise it, or set 0 to measure nothing"
        )
    sources = {line.source for line in corpus.lines(recipe.seed, {})}
    shares = None if recipe.mixture is None else sorted(filter(recipe.learns_from, recipe.mixture))
    if shares is not None and shares != sorted(sources):
        raise UserError(
            f"{key}.mixture: it has shares for {', '.join(shares)}, but the sources with images to train on "
            f"are {', '.join(sorted(sources))}; give each of them its share"
        )
