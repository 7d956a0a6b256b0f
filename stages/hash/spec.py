"""The hash stage, declared: a perceptual hash of every downloaded image, by which `dedup` finds near duplicates."""

from __future__ import annotations

from typing import Literal

from stages.contract import CAPTIONED, Port, Recipe, RunOptions, StageSpec, Threads


class HashRecipe(Recipe):
    """What pictures that look alike have in common."""

    method: Literal["phash", "dhash"] = "phash"
    """`phash`: the signs of the lowest frequencies (a DCT of 32 x 32 pixels); `dhash`: where brightness rises from left
    to right in 8 x 9 pixels, which is faster and takes more pictures for alike."""


class HashRun(RunOptions):
    """How fast a shard is hashed."""

    threads: Threads = 2
    """Images that are decoded at once in one worker."""


SPEC = StageSpec(
    name="hash",
    version=2,
    reads={"images": Port("images")},
    writes="hashes",
    recipe=HashRecipe,
    run=HashRun,
    compute="stages.hash.compute:Hash",
    uses=CAPTIONED,
)
