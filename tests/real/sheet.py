"""A sheet of pictures with their captions: what a person looks at."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from tests.real.places import CLIPART, STAMPS
from tests.real.web import BASE

EACH = 20
"""Held-out photographs, and pictures of the web."""
ACROSS = 8
SIDE, LINE, LINES = 190, 14, 9
"""Pixels of a picture and of a line; lines below a picture."""
KEPT, DROPPED, TRUTH = "#0a6b2d", "#b02020", "#555555"

Rows = list[dict[str, Any]]


class Cell(NamedTuple):
    """A picture, and what stands below it, each with its colour."""

    picture: Path
    said: list[tuple[str, str]]


def make(predictions: dict[str, Rows], candidates: Rows, path: Path) -> None:
    """Draw it.

    Args:
        predictions: by moment, captions of the held-out photographs, in one order.
        candidates: texts of the web's pictures, one picture's one after the other.
        path: of the PNG.
    """
    cells = [*_spread(list(_held_out(predictions))), *_spread(list(_web(candidates)))]
    height, rows = SIDE + LINES * LINE, -(-len(cells) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * (SIDE + 10), rows * (height + 10)), "white")
    for number, cell in enumerate(cells):
        _draw(sheet, cell, (number % ACROSS * (SIDE + 10) + 5, number // ACROSS * (height + 10) + 5))
    sheet.save(path)


def _held_out(predictions: dict[str, Rows]) -> Iterator[Cell]:
    for rows in zip(*predictions.values(), strict=True):
        said = [(f"truth: {rows[0]['truth']}", TRUTH)]
        said += [(f"{moment}: {row['caption']}", "black") for moment, row in zip(predictions, rows, strict=True)]
        yield Cell(STAMPS / rows[0]["file"], said)


def _web(candidates: Rows) -> Iterator[Cell]:
    for url, rows in groupby(candidates, key=lambda row: row["url"]):
        said = [
            (f"{row['origin']}: {row['caption']} ({row['itm_score']:.2f})", KEPT if row["kept"] else DROPPED)
            for row in rows
            if row["itm_score"] is not None
        ]
        yield Cell(CLIPART / "png" / url.removeprefix(f"{BASE}/"), said)


def _spread(cells: Sequence[Cell]) -> list[Cell]:
    """So many of them, at equal distances."""
    return [cells[at * len(cells) // EACH] for at in range(min(EACH, len(cells)))]


def _draw(sheet: Image.Image, cell: Cell, place: tuple[int, int]) -> None:
    with Image.open(cell.picture) as opened:
        layer = opened.convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    whole.thumbnail((SIDE, SIDE))
    sheet.paste(whole, place)
    font, pen, left, down = ImageFont.load_default(size=11), ImageDraw.Draw(sheet), place[0], place[1] + SIDE
    lines = [(line, colour) for text, colour in cell.said for line in textwrap.wrap(text, 34)[:3]]
    for number, (line, colour) in enumerate(lines[:LINES]):
        pen.text((left, down + number * LINE), line, fill=colour, font=font)
