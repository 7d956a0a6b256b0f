"""The corpus as the training sees it: every image that has a kept caption, and where its bytes lie.

It is held in memory, about half a kilobyte per image: some millions of images per host. Beyond that, shards would have
to be dealt out to the workers and read in turn.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import fsspec
import pyarrow as pa

from stages.contract import CorpusShard
from stages.models.text import QFORMER_MAX_WORDS, clean
from stages.shards import Artifact


@dataclass(frozen=True)
class Member:
    """An image's bytes, inside an uncompressed tar."""

    tar: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The encoded image, with one ranged read."""
        filesystem, path = fsspec.core.url_to_fs(self.tar)
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
    """The number of the first image in the corpus that has the same bytes; its own where there is no earlier one."""


@dataclass(frozen=True)
class Corpus:
    """What is trained on, and what is kept back."""

    training: tuple[Example, ...]
    holdout: tuple[Example, ...]


def read_corpus(shards: Iterable[CorpusShard], holdout: float) -> Corpus:
    """Read the tables of every shard.

    Equal images come to lie on the same side, so that nothing that was trained on is measured with.
    """
    examples: list[Example] = []
    first: dict[str, int] = {}
    for shard in shards:
        for digest, example in _read_shard(shard):
            number = len(examples)
            examples.append(replace(example, identity=first.setdefault(digest, number) if digest else number))
    kept_back = [is_held_out(examples[example.identity].key, holdout) for example in examples]
    return Corpus(
        tuple(example for example, kept in zip(examples, kept_back, strict=True) if not kept),
        tuple(example for example, kept in zip(examples, kept_back, strict=True) if kept),
    )


def is_held_out(key: str, share: float) -> bool:
    """Whether an image is kept back: a hash of its key decides, so another seed or more images change nothing."""
    number = int.from_bytes(blake2b(f"holdout/{key}".encode(), digest_size=8).digest(), "little")
    return number < share * 2**64


def kept_captions(captions: pa.Table, select: pa.Table) -> dict[str, tuple[str, ...]]:
    """The kept captions of every image by rank; human ones, which have none, in their own order."""
    texts = {(row["key"], row["candidate"]): row["caption"] for row in captions.to_pylist()}
    kept = [row for row in select.to_pylist() if row["kept"]]
    kept.sort(key=lambda row: (row["rank"] is None, row["rank"] or 0, row["candidate"]))
    found: dict[str, list[str]] = {}
    for row in kept:
        if text := clean(texts[row["key"], row["candidate"]], QFORMER_MAX_WORDS):
            found.setdefault(row["key"], []).append(text)
    return {key: tuple(dict.fromkeys(of_image)) for key, of_image in found.items()}


def _read_shard(shard: CorpusShard) -> Iterator[tuple[str | None, Example]]:
    """(sha256, example) of every image with a kept caption, in the order of the images table."""
    captions = kept_captions(
        shard.captions.table(["key", "candidate", "caption"]), shard.select.table(["key", "candidate", "rank", "kept"])
    )
    rows = [row for row in shard.images.table(["key", "sha256", "member"]).to_pylist() if row["key"] in captions]
    members = _members(shard.images, [row["member"] for row in rows]) if rows else {}
    for row in rows:
        yield row["sha256"], Example(row["key"], captions[row["key"]], members[row["member"]], 0)


def _members(images: Artifact, names: Sequence[str]) -> Mapping[str, Member]:
    """Where the named images lie in the shard's tar; its headers are read, its images are skipped.

    Raises:
        ValueError: the tar lacks one of them.
    """
    tar = images.side("tar")
    with fsspec.open(tar, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        found = {member.name: Member(tar, member.offset_data, member.size) for member in archive}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{tar} lacks {len(missing)} image(s) that {images.url} lists, {missing[0]} first")
    return found
