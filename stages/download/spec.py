"""The download stage, declared: every URL row becomes an image in the shard's tar, or a reason why not."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from stages.contract import Recipe, RunOptions, StageSpec


class DownloadRecipe(Recipe):
    """What is fetched and how it is stored.

    `timeout` and `retries` stand here and not under `run:`, because a more patient download finds other images.
    """

    image_size: Annotated[int, Field(ge=1)] = 384
    """Pixels of the stored image's shorter side. Larger images are scaled down, smaller ones are left as they are."""
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    """The format of the stored images. One that comes in it and is not resized is stored as it came."""
    encode_quality: Annotated[int, Field(ge=0, le=100)] = 95
    """JPEG or WebP quality in [0, 100]; for png the compression level in [0, 9]."""
    min_image_size: Annotated[int, Field(ge=0)] = 0
    """Images whose shorter side has fewer pixels are refused (`too_small`)."""
    max_aspect_ratio: Annotated[float, Field(ge=1)] | None = None
    """Images whose longer side is more than this many times the shorter are refused (`bad_aspect`)."""
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    """Directives of the X-Robots-Tag header that refuse this use (`opted_out`); an empty list honours none."""
    user_agent_token: str | None = None
    """The name that the downloader adds to its User-Agent and answers to in X-Robots-Tag."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds without a sign of the server; a whole body may take six times that."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Further attempts at an address that did not answer with an image."""

    @model_validator(mode="after")
    def _png_has_levels(self) -> Self:
        if self.encode_format == "png" and self.encode_quality > 9:
            raise ValueError(
                f"encode_quality is {self.encode_quality}, but for encode_format png it is the compression level, "
                "0 to 9: set encode_quality, for instance to 6"
            )
        return self


class DownloadRun(RunOptions):
    """How fast a shard is fetched."""

    threads: Annotated[int, Field(ge=1)] = 64
    """Requests under way at once in one worker."""
    images: str | None = None
    """fsspec URL of the folder below which the urls table's `file` lies; set by the graph from the source."""


SPEC = StageSpec(
    name="download",
    version=1,
    inputs=("urls",),
    recipe=DownloadRecipe,
    run=DownloadRun,
    compute="stages.download.compute:Download",
)
