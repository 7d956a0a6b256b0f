"""The dedup stage, declared: which images are copies of earlier ones, so that no caption is written for them.

It reads its own source and the web sources that stand above it in the manifest, so that a source added below leaves the
verdicts, and with them the captions, of those above as they are. Human sources, and those that `evaluate` measures on,
are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from stages.contract import CAPTIONED, AtOnceRunOptions, Port, Problems, Recipe, StageSpec, Wired


class DedupRecipe(Recipe):
    """What makes an image a copy of an earlier one."""

    url: bool = True
    """It has the same address."""
    content: bool = True
    """It came as the same bytes (sha256)."""
    near: Annotated[int, Field(ge=0, le=7)] | None = None
    """It looks alike: its perceptual hash (section `hash`) differs in at most so many of 64 bits. 0 finds other sizes
    and compressions of a picture; from about 4 on, pictures of one series are taken for copies. None looks at none."""


def check(recipe: DedupRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether perceptual hashes are made where, and only where, they are compared."""
    hashed = any("hashes" in found.roles for found in wired.values())
    if recipe.near is not None and not hashed:
        yield ("near",), f"found {recipe.near}, but there is no 'hash' section above; add 'hash: {{}}'"
    if recipe.near is None and hashed:
        yield (), "'near' is not set, so that nothing reads the hashes of 'hash'; set it, or leave that section out"


SPEC = StageSpec(
    name="dedup",
    version=1,
    reads={"images": Port("images", above=True), "hashes": Port("hashes", optional=True, above=True)},
    writes="duplicates",
    recipe=DedupRecipe,
    run=AtOnceRunOptions,
    compute="stages.dedup.compute:Dedup",
    grain="source",
    check=check,
    uses=CAPTIONED,
)
