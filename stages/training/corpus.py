"""The corpus as the training sees it: every image that has a kept caption, and where its bytes lie.

All that is held of the whole corpus is how many images each shard has. The images themselves are looked up shard by
shard, a little ahead of their turn, and of the shards looked up the latest stay in memory, about half a kilobyte an
image.
"""

from __future__ import annotations

import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from stages.contract import CorpusShard
from stages.corpus import kept_captions
from stages.io import tars
from stages.io.files import locate, open_bytes
from stages.io.shards import Artifact
from stages.models.blip.text import QFORMER_MAX_WORDS, clean
from stages.training.order import Line, mix

WINDOWS = 3
"""How many windows of shards stay in memory per source: the one in use, the next, and one for their borders."""


@dataclass(frozen=True)
class Member:
    """An image's bytes, inside an uncompressed tar."""

    tar: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The encoded image, with one ranged read."""
        filesystem, path = locate(self.tar)
        content: bytes = filesystem.cat_file(path, start=self.offset, end=self.offset + self.size)
        return content


@dataclass(frozen=True)
class Example:
    """An image and its kept captions."""

    key: str
    captions: tuple[str, ...]
    """As the text model reads them, the best first; at least one."""
    member: Member
    identity: int
    """A number in [0, 2^63) that images of the same bytes have in common."""


class Sides(NamedTuple):
    """The images of a shard that are trained on, and those kept back."""

    training: tuple[Example, ...]
    holdout: tuple[Example, ...]


class Size(NamedTuple):
    """How many images of a shard are trained on, and kept back."""

    training: int
    holdout: int


class _Row(NamedTuple):
    key: str
    captions: tuple[str, ...]
    member: str
    identity: int


class Corpus:
    """Shards, of which the images are looked up as they are needed. Safe to call from several threads."""

    def __init__(self, shards: Sequence[CorpusShard], sizes: Sequence[Size], holdout: float, window: int) -> None:
        """Take shards.

        Args:
            shards: of all sources, in their order.
            sizes: of each, from `count_images`.
            holdout: share of the images that is kept back.
            window: shards of a source that are used side by side.
        """
        self._shards = shards
        self.sizes = sizes
        self._holdout = holdout
        self._window = window
        self._room = WINDOWS * window * len({shard.source for shard in shards})
        self._pool = ThreadPoolExecutor(window, thread_name_prefix="shards")
        self._known: OrderedDict[int, Future[Sides]] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> Size:
        """The images of all shards."""
        return Size(sum(size.training for size in self.sizes), sum(size.holdout for size in self.sizes))

    @property
    def digest(self) -> int:
        """A number that changes with the shards and their sizes, and so with the order that images come in."""
        words = (
            f"{shard.source}/{shard.shard}={size.training}"
            for shard, size in zip(self._shards, self.sizes, strict=True)
        )
        return mix(*words)

    def lines(self, seed: int) -> list[Line]:
        """The training images, a line per source, in the order of the shards; sources without any are left out."""
        by_source: dict[str, list[int]] = {}
        for number, (shard, size) in enumerate(zip(self._shards, self.sizes, strict=True)):
            if size.training:
                by_source.setdefault(shard.source, []).append(number)
        return [
            Line(source, tuple(numbers), tuple(self.sizes[number].training for number in numbers), self._window, seed)
            for source, numbers in by_source.items()
        ]

    def training(self, shard: int) -> tuple[Example, ...]:
        """The training images of a shard, by its number."""
        return self._look_up(shard).result().training

    def expect(self, shards: Iterable[int]) -> None:
        """Begin to look shards up that will be asked for."""
        for shard in shards:
            self._look_up(shard)

    def _look_up(self, shard: int) -> Future[Sides]:
        """The shard, now or soon; the one that was not asked for longest is forgotten for it."""
        with self._lock:
            if shard not in self._known:
                self._known[shard] = self._pool.submit(read_shard, self._shards[shard], self._holdout)
            self._known.move_to_end(shard)
            if len(self._known) > self._room:
                self._known.popitem(last=False)
            return self._known[shard]

    def has_two(self) -> bool:
        """Whether at least two training images are different; looks no further than the first that is."""
        shards = (number for number, size in enumerate(self.sizes) if size.training)
        identities = (example.identity for shard in shards for example in self.training(shard))
        first = next(identities, None)
        return any(identity != first for identity in identities)

    def held_out(self, limit: int) -> list[Example]:
        """The first images that are kept back, at most `limit`."""
        found: list[Example] = []
        for shard, size in zip(self._shards, self.sizes, strict=True):
            if size.holdout and len(found) < limit:
                found += read_shard(shard, self._holdout).holdout
        return found[:limit]


def count_images(shards: Sequence[CorpusShard], holdout: float, readers: int) -> list[Size]:
    """The sizes of shards, several read at a time."""

    def count(shard: CorpusShard) -> Size:
        rows = _read_rows(shard)
        kept_back = sum(is_held_out(row.identity, holdout) for row in rows)
        return Size(len(rows) - kept_back, kept_back)

    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(count, shards))


def read_shard(shard: CorpusShard, holdout: float) -> Sides:
    """The images of a shard, in the order of its table.

    Raises:
        ValueError: the tar lacks one of them.
    """
    rows = _read_rows(shard)
    members = _members(shard.one("images"), [row.member for row in rows]) if rows else {}
    sides: tuple[list[Example], list[Example]] = ([], [])
    for row in rows:
        example = Example(row.key, row.captions, members[row.member], row.identity)
        sides[is_held_out(row.identity, holdout)].append(example)
    return Sides(*map(tuple, sides))


def is_held_out(identity: int, share: float) -> bool:
    """Whether an image is kept back: its bytes decide, so equal images lie on the same side, in whatever corpus."""
    return mix("holdout", identity) < share * 2**63


def _captions(shard: CorpusShard) -> dict[str, tuple[str, ...]]:
    """The kept captions of every image as the text model reads them, the best first; without those that say nothing."""
    found = {}
    for key, written in kept_captions(shard).items():
        if said := [text for caption in written if (text := clean(caption, QFORMER_MAX_WORDS))]:
            found[key] = tuple(dict.fromkeys(said))
    return found


def _read_rows(shard: CorpusShard) -> list[_Row]:
    """Every image with a kept caption, in the order of the images table."""
    captions = _captions(shard)
    columns = (column.to_pylist() for column in shard.one("images").table(["key", "sha256", "member"]).columns)
    return [
        _Row(key, captions[key], member, mix("image", digest or key))
        for key, digest, member in zip(*columns, strict=True)
        if key in captions
    ]


def _members(images: Artifact, names: Sequence[str]) -> Mapping[str, Member]:
    """Where the named images lie in the shard's tar; its headers are read, its images are skipped.

    Raises:
        ValueError: the tar lacks one of them.
    """
    tar = images.side("tar")
    found: dict[str, tarfile.TarInfo] = {}
    for member in _headers(tar):
        found.setdefault(member.name, member)  # of several of one name every stage takes the first
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{tar} lacks {len(missing)} image(s) that {images.url} lists, {missing[0]} first")
    return {name: Member(tar, found[name].offset_data, found[name].size) for name in names}


def _headers(tar: str) -> Iterator[tarfile.TarInfo]:
    with open_bytes(tar) as file, tars.open_tar(file, "r:") as archive:
        yield from filter(tars.is_file, archive)
