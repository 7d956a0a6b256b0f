"""What stands beside a picture on the web: in about half of the cases what it shows, otherwise what web pages say."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from stages.demo.describe import describe, mislead
from stages.demo.language import LEADS
from stages.demo.scene import COLOURS, KINDS, Place, Scene, Topic, generator, scene_at

Kind = Literal["true", "wrong_attribute", "other_image", "shop", "file_name", "boilerplate", "empty"]
SHARES: dict[Kind, float] = {
    "true": 0.5,
    "wrong_attribute": 0.13,
    "other_image": 0.13,
    "shop": 0.09,
    "file_name": 0.07,
    "boilerplate": 0.05,
    "empty": 0.03,
}
BOILERPLATE = (
    "Click to enlarge",
    "image may contain: one or more shapes",
    "Loading...",
    "View larger image",
    "thumbnail",
    "No description available",
    "Sponsored content",
    "photo 1 of 12",
    "Share on social media",
    "Subscribe to our newsletter",
    "stock photo",
    "Image not found",
    "logo",
)
GOODS = ("wall art", "sticker", "poster", "t-shirt", "mug", "cushion cover", "phone case", "canvas print", "rug")
OFFERS = (
    "free shipping",
    "50% off",
    "best price 2024",
    "buy online",
    "new arrival",
    "sale!",
    "SKU {number}",
    "from $9.99",
)
STEMS = ("IMG", "DSC", "image", "Screenshot", "photo", "untitled", "pic", "final_v2", "scan", "P")
ELSEWHERE = 1_000_003
"""Another image's text comes from a picture that this one's world does not reach."""


class AltText(NamedTuple):
    """A web text and how it came about; whether it is right is for the judge to say."""

    text: str
    kind: Kind


def alt_text_at(place: Place) -> AltText:
    """The web text of a picture of the world."""
    elsewhere = Place(place.seed, place.stream, place.index + ELSEWHERE)
    return alt_text(scene_at(place), scene_at(elsewhere), generator(place, Topic.TEXT))


def alt_text(scene: Scene, other: Scene, rng: np.random.Generator) -> AltText:
    """A web text for a scene; `other` is the picture that it may be mistaken for."""
    kind = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
    return AltText(text_of_kind(kind, scene, other, rng), kind)


def text_of_kind(kind: Kind, scene: Scene, other: Scene, rng: np.random.Generator) -> str:
    """A web text of a given kind."""
    return MAKERS[kind](scene, other, rng)


def _styled(text: str, rng: np.random.Generator) -> str:
    """As people type it: a lead now and then, a capital, a full stop."""
    if rng.random() < 0.15 and not text.startswith(("two", "three")):
        text = f"{_one_of(LEADS, rng)} {text}"
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    return f"{text}." if rng.random() < 0.3 else text


def _shop(scene: Scene, rng: np.random.Generator) -> str:
    """Goods and offers; the words may well be those of the picture, and still describe nothing."""
    shape = scene.shapes[0]
    colour, kind = (shape.colour, shape.kind) if rng.random() < 0.5 else (_one_of(COLOURS, rng), _one_of(KINDS, rng))
    offer = _one_of(OFFERS, rng).format(number=int(rng.integers(1000, 99999)))
    goods = _one_of(GOODS, rng)
    return _one_of(
        (
            f"{colour} {kind} {goods} | {offer}",
            f"{kind} {goods} - {offer}",
            f"Buy {colour} {goods} {offer}",
            f"{goods.title()} with {kind} design, {offer}",
            f"{colour} {kind} {goods}",
        ),
        rng,
    )


def _file_name(rng: np.random.Generator) -> str:
    extension = _one_of(("jpg", "png", "JPG", "jpeg", "webp"), rng)
    return f"{_one_of(STEMS, rng)}{_one_of(('_', '-', ''), rng)}{int(rng.integers(1, 99999)):05d}.{extension}"


def _one_of(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


MAKERS: dict[Kind, Callable[[Scene, Scene, np.random.Generator], str]] = {
    "true": lambda scene, _, rng: _styled(describe(scene, rng), rng),
    "wrong_attribute": lambda scene, _, rng: _styled(mislead(describe(scene, rng), scene, rng), rng),
    "other_image": lambda _, other, rng: _styled(describe(other, rng), rng),
    "shop": lambda scene, _, rng: _shop(scene, rng),
    "file_name": lambda _, __, rng: _file_name(rng),
    "boilerplate": lambda _, __, rng: _one_of(BOILERPLATE, rng),
    "empty": lambda _, __, ___: "",
}
