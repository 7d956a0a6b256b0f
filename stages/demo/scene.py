"""What is on a picture: one to three shapes, drawn from a generator that belongs to this one picture.

Item i depends on (seed, stream, i) only, never on how many items there are, so that a larger world contains the
smaller one. Streams keep apart what must not be mixed up: the pictures that the models learnt from, those that people
described, those of the web, and those that measure.
"""

import math
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum
from typing import Any

import numpy as np

KINDS = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SIZES = ("small", "large")
RADII = {"small": (0.11, 0.125), "large": (0.19, 0.215)}
"""Radius of the circle around a shape, as a part of the picture's shorter side; the gap keeps the sizes apart."""

GAP = 0.03
"""Room around every shape, as a part of the shorter side."""


class Stream(IntEnum):
    """What a picture is for; pictures of two streams never coincide."""

    TRAIN = 1
    HUMAN = 2
    WEB = 3
    TEST = 4


class Topic(IntEnum):
    """What random numbers are drawn for; one topic's draws never shift another's."""

    SCENE = 1
    PIXELS = 2
    TEXT = 3
    LIST = 4


@dataclass(frozen=True)
class Place:
    """Where a picture stands in the world: everything about it follows from these three."""

    seed: int
    stream: Stream
    index: int


class Relation(Enum):
    """How the first of two shapes lies to the second."""

    LEFT = "left"
    RIGHT = "right"
    ABOVE = "above"
    BELOW = "below"

    @property
    def inverse(self) -> "Relation":
        """How the second lies to the first."""
        return INVERSES[self]


INVERSES = {
    Relation.LEFT: Relation.RIGHT,
    Relation.RIGHT: Relation.LEFT,
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
}


@dataclass(frozen=True)
class Shape:
    """One shape; x and y are parts of the picture's width and height, radius is a part of its shorter side."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """A picture's content; aspect is width / height."""

    aspect: float
    shapes: tuple[Shape, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the table of truths."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Scene":
        """The scene that `to_json` wrote."""
        return Scene(values["aspect"], tuple(Shape(**shape) for shape in values["shapes"]))


def generator(place: Place, topic: Topic) -> np.random.Generator:
    """The random numbers of one picture and one topic."""
    return np.random.default_rng([place.seed, place.stream, place.index, topic])


def scene_at(place: Place) -> Scene:
    """The scene of a picture."""
    rng = generator(place, Topic.SCENE)
    aspect = float(rng.uniform(3 / 4, 4 / 3))
    count = int(rng.choice((1, 2, 3), p=(0.25, 0.5, 0.25)))
    while True:
        shapes = tuple(_shape(rng, aspect) for _ in range(count))
        if _apart(shapes, aspect):
            return Scene(aspect, shapes)


def relation(first: Shape, second: Shape) -> Relation:
    """What one would say of two shapes: along the axis on which they differ most."""
    if abs(first.x - second.x) >= abs(first.y - second.y):
        return Relation.LEFT if first.x < second.x else Relation.RIGHT
    return Relation.ABOVE if first.y < second.y else Relation.BELOW


def holds(first: Shape, how: Relation, second: Shape) -> bool:
    """Whether one may say it: on either axis, however little they differ."""
    match how:
        case Relation.LEFT:
            return first.x < second.x
        case Relation.RIGHT:
            return first.x > second.x
        case Relation.ABOVE:
            return first.y < second.y
        case Relation.BELOW:
            return first.y > second.y


def frame(aspect: float) -> tuple[float, float]:
    """Width and height in units of the shorter side."""
    return max(aspect, 1.0), max(1 / aspect, 1.0)


def _shape(rng: np.random.Generator, aspect: float) -> Shape:
    width, height = frame(aspect)
    size = str(rng.choice(SIZES))
    radius = float(rng.uniform(*RADII[size]))
    edge = radius + GAP
    x, y = rng.uniform(edge, width - edge), rng.uniform(edge, height - edge)
    return Shape(str(rng.choice(KINDS)), str(rng.choice(COLOURS)), size, float(x / width), float(y / height), radius)


def _apart(shapes: tuple[Shape, ...], aspect: float) -> bool:
    width, height = frame(aspect)
    return all(
        math.hypot((one.x - two.x) * width, (one.y - two.y) * height) > one.radius + two.radius + GAP
        for number, one in enumerate(shapes)
        for two in shapes[:number]
    )
