"""Where everything of this run lies, and how it goes on: what is done is not done again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out-real"
PACKAGES = OUT / "packages"
UNPACKED = OUT / "unpacked"
TOWER = OUT / "models/dinov2-small"
BERT = OUT / "models/minilm"
CLIP = OUT / "models/clip"
WEB_LIST = OUT / "lists/web.parquet"
WEB_TRUTH = OUT / "lists/web-truth.parquet"
STAMPS_LIST = OUT / "lists/stamps.json"
STAMPS = UNPACKED / "usr/share/tuxpaint/stamps"
CLIPART = UNPACKED / "usr/share/openclipart"
MANIFEST = ROOT / "manifests/real.yaml"


class Trouble(Exception):  # noqa: N818 - what is said to a person
    """What stands in the way, in one line."""


@contextmanager
def once(made: Path, what: str) -> Iterator[bool]:
    """Whether a folder is still to be made; a mark in it says that it is whole, and is written last."""
    mark = made / ".whole"
    if mark.exists():
        yield False
        return
    print(f"{what}: {made.relative_to(ROOT)}", flush=True)
    made.mkdir(parents=True, exist_ok=True)
    yield True
    mark.touch()
