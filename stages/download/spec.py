"""The download stage, declared: every URL row becomes an image in the shard's tar, or a reason why not."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.contract import MAX_BYTES, Count, Port, Recipe, RunOptions, Seconds, StageSpec, Threads


class DownloadRecipe(Recipe):
    """What is fetched and how it is stored.

    The times and the retries stand here and not under `run:`, because a more patient download finds other images.
    """

    image_size: Annotated[int, Field(ge=1, le=16_383)] = 384
    """Pixels of the stored image's shorter side. Larger images are scaled down, smaller ones are left as they are."""
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    """The format of the stored images. A JPEG or WebP that comes in it and is not resized is stored as it came."""
    encode_quality: Annotated[int, Field(ge=0, le=100)] = 95
    """JPEG or WebP quality in [0, 100]; for png the compression level in [0, 9]."""
    min_image_size: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Images whose shorter side has fewer pixels are refused (`too_small`)."""
    max_aspect_ratio: Annotated[float, Field(ge=1, le=65_535)] | None = 20.0
    """Images whose longer side is more than this many times the shorter are refused (`bad_aspect`); None refuses none.
    Images in an existing tar stay there whatever their shape."""
    max_pixels: Annotated[int, Field(ge=1, le=2**28)] = 100_000_000
    """Images of more pixels are refused (`too_large`), by their header, before they are decoded; so are those that
    would take more than 800 MiB to decode."""
    max_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)] = 30 * 2**20
    """Bodies of more bytes, as they come or uncompressed, are cut off and refused (`too_large`), and so are
    larger files."""
    decode_seconds: Seconds = 20.0
    """Seconds of CPU time that decoding, scaling and encoding an image may take (`too_large`)."""
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    """Directives of the X-Robots-Tag header that refuse this use (`opted_out`); an empty list honours none."""
    user_agent: str = "capfilt"
    """The crawler's name: it stands in the User-Agent, and X-Robots-Tag directives may be addressed to it."""
    allow_addresses: tuple[str, ...] = ()
    """Addresses and networks of one's own mirrors (`10.1.2.3`, `10.1.0.0/16`). Beside them only public addresses are
    connected to; hosts at others are refused (`refused_address`)."""
    timeout: Seconds = 10.0
    """Seconds without a sign of the server, at each step: name lookup, connection, headers, body."""
    max_seconds: Seconds = 60.0
    """Seconds that the requests for an image may take in all, redirects and further attempts included; and how long a
    host is waited for that says "later" (HTTP 408, 425, 429, 503): as long as it says each time, or longer and longer,
    until its images are given up (`http_later`)."""
    shard_seconds: Seconds = 1800.0
    """Seconds after which no further image of a shard is begun (`timeout`)."""
    max_redirects: Annotated[int, Field(ge=0, le=100)] = 10
    """Redirects that are followed, each only to a permitted address."""
    retries: Annotated[int, Field(ge=0, le=100)] = 1
    """Further attempts where one may help: after a timeout, a lost connection and HTTP 5xx but 503."""
    host_failures: Count = 10
    """After so many images in a row that ended in a timeout or a lost connection a host's other images of the shard
    are given up (`host_down`)."""

    @field_validator("allow_addresses")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}; an address, or a network as 10.1.0.0/16") from None
        return texts

    @field_validator("user_agent")
    @classmethod
    def _is_token(cls, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
            raise ValueError("a crawler's name is made of letters, digits, '_', '.' and '-'")
        return text

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

    threads: Threads = 64
    """Requests under way at once in one worker."""
    host_threads: Threads = 16
    """Requests under way at once at one host, from one worker; fewer where it says that they are too many."""
    decoders: Threads = 2
    """Processes of one worker that images are decoded in, each one image at a time."""
    contact: str | None = None
    """A web page or an e-mail address that the User-Agent names, for those whose servers are asked."""

    @field_validator("contact")
    @classmethod
    def _can_be_written_to(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"(https?://|[A-Za-z0-9_.+-]+@)[A-Za-z0-9_./~%#?=&:+-]+", text):
            raise ValueError("a contact is a web address or an e-mail address, such as https://example.org/crawler")
        return text


class PlacedDownloadRun(DownloadRun):
    """The same, with the places that the source and the manifest name; no keys of the section."""

    images: str | None = None
    """fsspec URL of the folder below which the urls table's `file` lies."""
    packed: bool = False
    """Whether a `file` may lie within a tar or a table of that folder."""
    removed: str | None = None
    """fsspec URL of the removal list."""


SPEC = StageSpec(
    name="download",
    version=5,
    reads={"urls": Port("urls")},
    writes="images",
    recipe=DownloadRecipe,
    run=DownloadRun,
    placed=PlacedDownloadRun,
    compute="stages.download.compute:Download",
    implied=True,
)
