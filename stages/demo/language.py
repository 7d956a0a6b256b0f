"""The words of this world, and the judge of what is said with them.

`is_right` reads a text by the phrase tables, strictly: one that does not parse, or that claims nothing, is not right.
The describer (describe.py) says only what is plain to see; the judge accepts all that is so,
however little a shape lies to the left.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from stages.demo.scene import COLOURS, KINDS, Relation, Scene, Shape, holds

SIZE_WORDS = {"large": "large", "big": "large", "small": "small", "tiny": "small"}
COUNT_WORDS = {"two": 2, "three": 3}
LEADS = ("a picture of", "picture of", "an image of", "image of", "a drawing of", "drawing of", "there is", "photo of")
RELATIONS = {
    "to the left of": Relation.LEFT,
    "left of": Relation.LEFT,
    "to the right of": Relation.RIGHT,
    "right of": Relation.RIGHT,
    "above": Relation.ABOVE,
    "over": Relation.ABOVE,
    "below": Relation.BELOW,
    "under": Relation.BELOW,
}
TAILS = {
    "to its left": Relation.LEFT,
    "to its right": Relation.RIGHT,
    "above it": Relation.ABOVE,
    "below it": Relation.BELOW,
}
PLACES = {
    "on the left side": Relation.LEFT,
    "on the left": Relation.LEFT,
    "on the right side": Relation.RIGHT,
    "on the right": Relation.RIGHT,
    "near the top": Relation.ABOVE,
    "at the top": Relation.ABOVE,
    "near the bottom": Relation.BELOW,
    "at the bottom": Relation.BELOW,
}
MIDDLE = Shape("", "", "", 0.5, 0.5, 0.0)


@dataclass(frozen=True)
class Mention:
    """A shape as far as a text names it; what it leaves out is None."""

    kind: str
    colour: str | None
    size: str | None
    place: Relation | None

    def fits(self, shape: Shape) -> bool:
        """Whether all that is said is so of this shape."""
        return (
            self.kind == shape.kind
            and self.colour in (None, shape.colour)
            and self.size in (None, shape.size)
            and (self.place is None or holds(shape, self.place, MIDDLE))
        )


@dataclass(frozen=True)
class Claims:
    """All that a text says: the shapes, how they lie to each other (by number of mention), and how many there are."""

    mentions: tuple[Mention, ...]
    relations: tuple[tuple[int, Relation, int], ...]
    count: int | None

    def meant(self, scene: Scene) -> tuple[Shape, ...] | None:
        """A shape of its own for every mention such that every claim holds, or None if there are no such ones."""
        if self.count not in (None, len(scene.shapes)):
            return None
        for shapes in permutations(scene.shapes, len(self.mentions)):
            if all(mention.fits(shape) for mention, shape in zip(self.mentions, shapes, strict=True)) and all(
                holds(shapes[one], how, shapes[two]) for one, how, two in self.relations
            ):
                return shapes
        return None


def is_right(text: str, scene: Scene) -> bool:
    """Whether a text names at least one shape by colour or size, and all that it claims is so."""
    claims = parse(text)
    return claims is not None and claims.meant(scene) is not None


@lru_cache(maxsize=100_000)
def parse(text: str) -> Claims | None:
    """Claims of a text, or None where it is outside the grammar or names no shape by an attribute."""
    claims = _Reader(re.sub(r"[.!\"()*#:;~,]", " ", text.lower()).split()).read()
    if claims is None or not any(mention.colour or mention.size for mention in claims.mentions):
        return None
    return claims


class _Reader:
    """Reads one text from left to right: [lead] [count shapes] item {[and] item}."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0
        self.mentions: list[Mention] = []
        self.relations: list[tuple[int, Relation, int]] = []

    def read(self) -> Claims | None:
        self.take(LEADS)
        count = self.take(COUNT_WORDS)
        if count and not self.take(("shapes",)):
            return None
        while self.item():
            if self.at == len(self.words):
                return Claims(tuple(self.mentions), tuple(self.relations), COUNT_WORDS[count] if count else None)
            self.take(("and",))
        return None

    def item(self) -> bool:
        """SHAPE, SHAPE relation SHAPE, or SHAPE with SHAPE tail."""
        if not self.mention():
            return False
        first = len(self.mentions) - 1
        if how := self.take(RELATIONS):
            self.relations.append((first, RELATIONS[how], first + 1))
            return self.mention()
        if self.take(("with",)):
            if not self.mention() or not (tail := self.take(TAILS)):
                return False
            self.relations.append((first + 1, TAILS[tail], first))
        return True

    def mention(self) -> bool:
        """[a] [size] [colour] kind [place]."""
        self.take(("a", "an", "one"))
        size, colour, kind = self.take(SIZE_WORDS), self.take(COLOURS), self.take(KINDS)
        place = self.take(PLACES)
        if kind:
            self.mentions.append(
                Mention(kind, colour, SIZE_WORDS[size] if size else None, PLACES[place] if place else None)
            )
        return kind is not None

    def take(self, phrases: Iterable[str]) -> str | None:
        """Step over whichever of the phrases comes next, the longest first."""
        for phrase in sorted(phrases, key=len, reverse=True):
            parts = phrase.split()
            if self.words[self.at : self.at + len(parts)] == parts:
                self.at += len(parts)
                return phrase
        return None
