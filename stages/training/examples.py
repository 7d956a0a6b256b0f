"""The images of a shard that a training may be given, each with its captions and the place of its bytes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stages.contract import CorpusShard
from stages.corpus import all_captions, kept_captions
from stages.io import tars
from stages.io.files import locate, open_bytes
from stages.io.shards import Artifact
from stages.models.blip.text import MAX_WORDS, clean, clean_question
from stages.tables import Origin
from stages.training.order import mix


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


class Answer(NamedTuple):
    """What may be said to a question."""

    text: str
    """As people gave it."""
    weight: float


@dataclass(frozen=True)
class Example:
    """An image and its captions."""

    key: str
    captions: tuple[str, ...]
    """As the text model reads them, the best first; at least one."""
    member: Member
    identity: int
    """A number in [0, 2^63) that images of the same bytes have in common."""
    answers: tuple[tuple[Answer, ...], ...] = ()
    """Of each caption its answers, where the captions are questions."""


class Sides(NamedTuple):
    """The images of a shard that are trained on, and those kept back."""

    training: tuple[Example, ...]
    holdout: tuple[Example, ...]


@dataclass(frozen=True)
class Choice:
    """What of a shard is trained on."""

    holdout: float
    """Share of the images that is kept back."""
    max_words: int = MAX_WORDS
    """Words that are read of a caption."""
    by_caption: bool = False
    """Whether an image comes once for each of its captions in an epoch, as in BLIP's lists of pairs; else once, with
    one of them."""
    origin: Origin | None = None
    """Whose captions are read; None for all that there are."""
    questions: bool = False
    """Whether questions are read in place of captions, those with answers; each counts as a caption."""
    measured: frozenset[int] = field(default_factory=frozenset)
    """The identities of images that others measure on, and nobody learns from."""


class Row(NamedTuple):
    """An image before its bytes have been found."""

    key: str
    captions: tuple[str, ...]
    member: str
    identity: int
    answers: tuple[tuple[Answer, ...], ...] = ()


class Rows(NamedTuple):
    """The images of a shard that have a caption."""

    taken: list[Row]
    measured: int
    """How many were left out because others measure on them."""
    wordless: int
    """How many whose captions say nothing."""


def read_shard(shard: CorpusShard, choice: Choice) -> Sides:
    """The images of a shard, in the order of its table.

    Raises:
        ValueError: the tar lacks one of them.
    """
    rows = read_rows(shard, choice).taken
    members = _members(shard.one("images"), [row.member for row in rows]) if rows else {}
    sides: tuple[list[Example], list[Example]] = ([], [])
    for row in rows:
        example = Example(row.key, row.captions, members[row.member], row.identity, row.answers)
        kept_back = is_held_out(row.identity, choice.holdout)
        sides[kept_back].extend([example] if kept_back or not choice.by_caption else _by_caption(example))
    return Sides(*map(tuple, sides))


def _by_caption(example: Example) -> Iterator[Example]:
    for number, caption in enumerate(example.captions):
        answers = example.answers[number : number + 1]
        yield Example(example.key, (caption,), example.member, example.identity, answers)


def read_rows(shard: CorpusShard, choice: Choice) -> Rows:
    """Every image with a caption (or a question that has an answer), in the order of the images table."""
    texts = _asked(shard, choice.max_words) if choice.questions else _said(shard, choice)
    columns = (column.to_pylist() for column in shard.one("images").table(["key", "sha256", "member"]).columns)
    found = [
        Row(key, texts[key].captions, member, identity_of(digest or key), texts[key].answers)
        for key, digest, member in zip(*columns, strict=True)
        if key in texts and member is not None
    ]
    telling = [row for row in found if row.captions]
    taken = [row for row in telling if row.identity not in choice.measured]
    return Rows(taken, len(telling) - len(taken), len(found) - len(telling))


class _Texts(NamedTuple):
    captions: tuple[str, ...]
    answers: tuple[tuple[Answer, ...], ...] = ()


def _said(shard: CorpusShard, choice: Choice) -> dict[str, _Texts]:
    """Each image's captions."""
    written = kept_captions(shard) if shard.maybe("selection") else all_captions(shard, choice.origin)
    return {key: _Texts(_readable(captions, choice.max_words)) for key, captions in written.items()}


def _asked(shard: CorpusShard, max_words: int) -> dict[str, _Texts]:
    """Each image's questions that say something and have an answer."""
    found: dict[str, list[tuple[str, tuple[Answer, ...]]]] = {}
    for row in (row for asked in shard.all("questions") for row in asked.table().to_pylist()):
        own = found.setdefault(row["key"], [])
        answers = tuple(Answer(each["answer"], each["weight"]) for each in row["answers"] or () if each["answer"])
        if (text := clean_question(row["question"], max_words)) and answers:
            own.append((text, answers))
    return {key: _Texts(*zip(*own, strict=True)) if own else _Texts(()) for key, own in found.items()}


def _readable(captions: Sequence[str], max_words: int) -> tuple[str, ...]:
    """Captions as the text model reads them, each once; without those that say nothing."""
    return tuple(dict.fromkeys(text for caption in captions if (text := clean(caption, max_words))))


def identity_of(digest: str) -> int:
    """A number in [0, 2^63) that images of the same bytes have in common."""
    return mix("image", digest)


def is_held_out(identity: int, share: float) -> bool:
    """Whether an image is kept back: its bytes decide, so equal images lie on the same side, in whatever corpus."""
    return mix("holdout", identity) < share * 2**63


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
