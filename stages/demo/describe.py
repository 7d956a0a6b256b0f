"""True things that people say of a scene, and the smallest changes that make them false."""

import re
from itertools import combinations

import numpy as np

from stages.demo.language import (
    COUNT_WORDS,
    PLACES,
    RELATIONS,
    SIZE_WORDS,
    TAILS,
    is_right,
    parse,
)
from stages.demo.scene import COLOURS, KINDS, Relation, Scene, Shape, relation

LONGEST = 15
"""Words and commas of the longest description: with its prompt and an end token it fits into BLIP's 20 tokens."""

PLAIN = 0.1
"""How far off the middle a shape lies (as a part of the picture) before anyone says that it is on that side."""

SWAPS: tuple[tuple[str, ...], ...] = (
    KINDS,
    COLOURS,
    tuple(SIZE_WORDS),
    tuple(COUNT_WORDS),
    tuple(RELATIONS),
    tuple(TAILS),
    tuple(PLACES),
)
"""Phrases that can stand in each other's place."""


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """One true description: of one shape, of two and how they lie, or of several in a row."""
    shapes = [scene.shapes[i] for i in rng.permutation(len(scene.shapes))]
    draw = rng.random()
    if len(shapes) == 1 or draw < 0.1:
        text = _mention(shapes[0], rng, place=0.5)
    elif draw < 0.65:
        text = _pair(shapes[0], shapes[1], rng)
    else:
        text = _row(shapes, rng)
    return text if len(re.findall(r"\w+|,", text)) <= LONGEST else describe(scene, rng)


def mislead(text: str, scene: Scene, rng: np.random.Generator) -> str:
    """A text that differs from a right one by one phrase, or by two exchanged ones, and is wrong."""
    changed = [*_replaced(text), *_exchanged(text)]
    for number in rng.permutation(len(changed)):
        if _is_wrong(changed[number], scene):
            return _with_articles(changed[number])
    raise ValueError(f"no single change makes this text wrong: {text!r}")


def turned(text: str, scene: Scene, rng: np.random.Generator) -> str | None:
    """A right text with one of its directions turned round so that it is wrong; None if it has no such one."""
    for phrases in (RELATIONS, TAILS, PLACES):
        for found in _occurrences(text, tuple(phrases)):
            opposite = _phrase(phrases, phrases[found.group()].inverse, rng)
            changed = f"{text[: found.start()]}{opposite}{text[found.end() :]}"
            if _is_wrong(changed, scene):
                return changed
    return None


def _is_wrong(text: str, scene: Scene) -> bool:
    """Whether a text can be read, and says what is not so."""
    return parse(text) is not None and not is_right(text, scene)


def _pair(first: Shape, second: Shape, rng: np.random.Generator) -> str:
    how = relation(first, second)
    if rng.random() < 0.3:
        return f"{_mention(first, rng)} with {_mention(second, rng)} {_phrase(TAILS, how.inverse, rng)}"
    return f"{_mention(first, rng)} {_phrase(RELATIONS, how, rng)} {_mention(second, rng)}"


def _row(shapes: list[Shape], rng: np.random.Generator) -> str:
    place = float(rng.choice((0.0, 0.5)))
    chosen = shapes if rng.random() < 0.7 else shapes[:2]
    names = [_mention(shape, rng, place=place) for shape in chosen]
    row = f"{', '.join(names[:-1])} and {names[-1]}"
    if len(chosen) == len(shapes) and rng.random() < 0.25:
        count = next(word for word, number in COUNT_WORDS.items() if number == len(shapes))
        return f"{count} shapes, {row}"
    return row


def _mention(shape: Shape, rng: np.random.Generator, *, place: float = 0.0) -> str:
    """A shape by size and colour, by colour, or by size; with this probability also where it lies, if that is plain."""
    size = str(rng.choice([word for word, size in SIZE_WORDS.items() if size == shape.size], p=(0.75, 0.25)))
    named = {0: f"{size} {shape.colour}", 1: shape.colour, 2: size}[int(rng.choice(3, p=(0.5, 0.38, 0.12)))]
    text = _with_articles(f"a {named} {shape.kind}")
    sides = _sides(shape)
    if sides and rng.random() < place:
        return f"{text} {_phrase(PLACES, sides[int(rng.integers(len(sides)))], rng)}"
    return text


def _sides(shape: Shape) -> list[Relation]:
    across = [Relation.LEFT] * (shape.x < 0.5 - PLAIN) + [Relation.RIGHT] * (shape.x > 0.5 + PLAIN)
    along = [Relation.ABOVE] * (shape.y < 0.5 - PLAIN) + [Relation.BELOW] * (shape.y > 0.5 + PLAIN)
    return across + along


def _phrase(phrases: dict[str, Relation], how: Relation, rng: np.random.Generator) -> str:
    return str(rng.choice([phrase for phrase, meaning in phrases.items() if meaning is how]))


def _with_articles(text: str) -> str:
    return re.sub(r"\ban? (?=[aeiou])", "an ", re.sub(r"\ban (?=[^aeiou])", "a ", text))


def _replaced(text: str) -> list[str]:
    """All texts in which one phrase gives way to another of its class."""
    return [
        f"{text[: found.start()]}{other}{text[found.end() :]}"
        for phrases in SWAPS
        for found in _occurrences(text, phrases)
        for other in phrases
        if other != found.group()
    ]


def _exchanged(text: str) -> list[str]:
    """All texts in which two phrases of a class have changed places."""
    return [
        f"{text[: a.start()]}{b.group()}{text[a.end() : b.start()]}{a.group()}{text[b.end() :]}"
        for phrases in SWAPS
        for a, b in combinations(_occurrences(text, phrases), 2)
        if a.group() != b.group()
    ]


def _occurrences(text: str, phrases: tuple[str, ...]) -> list[re.Match[str]]:
    longest_first = sorted(phrases, key=len, reverse=True)
    return list(re.finditer(rf"\b(?:{'|'.join(longest_first)})\b", text))
