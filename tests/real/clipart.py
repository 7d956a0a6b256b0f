"""Clip art as the noisy web: titles and keywords in place of alternative texts, and a share of them another's."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.real.places import CLIPART, WEB_LIST, WEB_TRUTH
from tests.real.web import BASE

FOLDERS = (
    *("animals", "buildings", "containers", "decorations", "education", "electronics", "food", "office", "people"),
    *("plants", "recreation", "science", "tools", "transportation", "unsorted"),
)
"""Those that show things, rather than icons, flags and patterns."""
ALIKE = 5
"""Pictures that say the same are taken up to so many: beyond, it is the name of a set ("AIGA Symbol Signs")."""
WRONG = 0.25
"""Share of the texts that are another picture's."""
DC = "{http://purl.org/dc/elements/1.1/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


class Row(NamedTuple):
    """A picture of the web."""

    name: str
    """Its path below the folder of pictures."""
    text: str


def make() -> None:
    """Write the list, and beside it, for the report alone, which of its texts are their own picture's."""
    rows = list(found_in(CLIPART))
    texts = misplaced(rows)
    WEB_LIST.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"{BASE}/{row.name}" for row in rows]
    pq.write_table(pa.table({"url": urls, "text": texts}), WEB_LIST)
    own = [row.text for row in rows]
    pq.write_table(pa.table({"url": urls, "own_text": own, "text": texts}), WEB_TRUTH)


def found_in(folder: Path) -> Iterator[Row]:
    """Every picture of which its drawing says something of its own."""
    alike = Counter[str]()
    for top in FOLDERS:
        for drawing in sorted((folder / "svg" / top).rglob("*.svg")):
            name = drawing.relative_to(folder / "svg").with_suffix(".png")
            if (folder / "png" / name).exists() and (text := said(drawing.read_text("utf-8", errors="replace"))):
                alike[text] += 1
                if alike[text] <= ALIKE:
                    yield Row(str(name), text)


def said(svg: str) -> str:
    """The title and the keywords of a drawing, as a page might have them beside it; "" where it says nothing."""
    try:
        work = ET.fromstring(svg).find(".//{*}Work")
    except ET.ParseError:
        return ""
    if work is None:
        return ""
    title = work.findtext(f"{DC}title") or ""
    words = [each.text or "" for each in work.iterfind(f"{DC}subject//{RDF}li")]
    parts = dict.fromkeys(re.sub(r"[\s_]+", " ", part).strip() for part in (title, *words))
    return ", ".join(part for part in parts if part and not part.lower().startswith("hash"))


def misplaced(rows: Sequence[Row], share: float = WRONG) -> list[str]:
    """The texts of all rows, of which a share, drawn by their names, are passed on in a circle."""
    drawn = [at for at, row in enumerate(rows) if _number(row.name) < share]
    drawn.sort(key=lambda at: _number(f"order {rows[at].name}"))
    texts = [row.text for row in rows]
    for at, other in zip(drawn, drawn[1:] + drawn[:1], strict=True):
        texts[at] = rows[other].text
    return texts


def _number(text: str) -> float:
    """A number in [0, 1) that hangs on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
