"""Photographs with a caption each, as people's pairs: Tux Paint's stamps, a third of them held out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.real.places import STAMPS, STAMPS_LIST

OTHER = ("symbols", "cartoon", "roadsigns", "flags")
"""Folders with drawings."""


def make() -> None:
    """Write the list, in the layout of Karpathy's COCO."""
    STAMPS_LIST.parent.mkdir(parents=True, exist_ok=True)
    STAMPS_LIST.write_text(json.dumps({"images": entries(STAMPS)}, ensure_ascii=False))


def entries(folder: Path) -> list[dict[str, object]]:
    """An entry for every photograph that has a caption, by its name."""
    found: list[dict[str, object]] = []
    for picture in sorted(folder.rglob("*.png")):
        name = picture.relative_to(folder)
        text = picture.with_suffix(".txt")
        if not set(name.parts) & set(OTHER) and text.exists() and (caption := english(text.read_bytes())):
            place = {"filepath": str(name.parent), "filename": name.name, "split": split(str(name))}
            found.append({**place, "sentences": [{"raw": caption}]})
    return found


def english(data: bytes) -> str:
    """A stamp's caption: the first line is English, the others say their language; "" for none."""
    first = data.decode("utf-8", errors="replace").partition("\n")[0].strip()
    return "" if ".utf8=" in first else first


def split(name: str) -> str:
    """`test` for every third picture, by its name alone."""
    return "train" if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 3 else "test"
