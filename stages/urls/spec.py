"""What a manifest's `sources:` may be, and the stage that cuts them into URL shards of a fixed size.

Every source is a list of images with texts. The *web* formats name an image by its URL and give one noisy text; the
*human* formats (COCO, Visual Genome) give one row per image with all its captions. Column names are matched as DuckDB
does: upper and lower case are the same.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from stages.contract import Recipe, RunOptions, Settings, StageSpec

RESERVED = ("key", "source", "url", "text", "texts", "file", "shard")
"""The columns that every URL table and view has; `keep:` cannot name them (a test holds this to `tables.URLS`)."""


def is_web(path: str) -> bool:
    """Tell whether a path is an http(s) address."""
    return path.startswith(("http://", "https://"))


class SourceSettings(Settings):
    """What all sources share."""

    human: ClassVar[bool] = False
    """Whether people wrote the captions for these images, so that none are generated and none are filtered."""
    folder_glob: ClassVar[str | None] = None
    """What is taken when `path` is a folder; None where a folder makes no sense."""
    places: ClassVar[frozenset[str]] = frozenset({"path"})
    """The settings that say where the data lies, not what it is."""

    format: str
    """What kind of files they are."""
    path: str | tuple[str, ...]
    """A file, a glob or a list of them: paths relative to the working folder, or any fsspec URL (`s3://`, `https://`)."""
    where: str | None = None
    """A DuckDB condition over the source's own columns; the rows where it is false or null are left out."""
    keep: tuple[str, ...] = ()
    """Own columns of the source that the URL table carries along, under the names written here."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The entries of `path`."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def images_root(self) -> str | None:
        """The folder that the `file` column is relative to; None where images come from the web."""
        return None

    def identity(self) -> dict[str, Any]:
        """Everything here that changes the rows, without paths and hosts: for the fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.places))

    def overlaps(self, other: SourceSettings) -> bool:
        """Whether both take rows of the same file, as far as settings can tell: different `where`s are believed."""
        told_apart = self.where != other.where and None not in {self.where, other.where}
        return not set(self.paths).isdisjoint(other.paths) and not told_apart

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not path or not all(path):
            raise ValueError("names no file")
        return path

    @field_validator("keep")
    @classmethod
    def _no_clash(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        folded = [name.casefold() for name in keep]
        if taken := [name for name in keep if name.casefold() in RESERVED]:
            raise ValueError(f"the URL table has a column {taken[0]!r} of its own; leave it out")
        if len(set(folded)) < len(folded):
            raise ValueError("names a column twice")
        return keep


class NamedColumns(SourceSettings):
    """A table whose columns the manifest names."""

    url: str = "URL"
    """The column with the image's address."""
    text: str = "TEXT"
    """The column with the web text."""

    @property
    def url_names(self) -> tuple[str, ...]:
        """The names that the url column may have, the likeliest first."""
        return (self.url,)

    @property
    def text_names(self) -> tuple[str, ...]:
        """The names that the text column may have, the likeliest first."""
        return (self.text,)


class ParquetSource(NamedColumns):
    """Any Parquet table."""

    folder_glob: ClassVar[str | None] = "*.parquet"

    format: Literal["parquet"]


class LaionSource(SourceSettings):
    """LAION-400M, -2B and -5B as released: Parquet with URL, TEXT, WIDTH, HEIGHT, NSFW, similarity and others."""

    folder_glob: ClassVar[str | None] = "*.parquet"
    url_names: ClassVar[tuple[str, ...]] = ("URL",)
    text_names: ClassVar[tuple[str, ...]] = ("TEXT", "caption")

    format: Literal["laion"]


class CsvSource(NamedColumns):
    """A CSV file with a header line, .gz or not. It has no types: every column is text, an empty field is null."""

    format: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What separates two fields; `"\\t"` for a TSV file."""


class JsonlSource(NamedColumns):
    """One JSON object a line, .gz or not. Every column is text: what is no string is kept as its JSON."""

    format: Literal["jsonl"]


class Cc3mSource(SourceSettings):
    """Conceptual Captions as released: `caption TAB url` without a header."""

    columns: ClassVar[tuple[str, str]] = ("caption", "url")

    format: Literal["cc3m"]


class Cc12mSource(SourceSettings):
    """Conceptual 12M as released: `url TAB caption` without a header, the other order than Conceptual Captions."""

    columns: ClassVar[tuple[str, str]] = ("url", "caption")

    format: Literal["cc12m"]


class SbuSource(SourceSettings):
    """SBU captions: the JSON of three parallel lists (.json, .gz or .tar.gz), or `*_urls.txt` beside `*_captions.txt`.

    Own columns: `image_urls`, `captions`, and for the JSON `user_ids`; all text.
    """

    format: Literal["sbu"]


class WebDatasetSource(SourceSettings):
    """The output folder of an earlier img2dataset run; its images are taken as they are.

    Own columns: those of the `.parquet` beside a tar; without it the fields of the `.json` members, as text.
    """

    folder_glob: ClassVar[str | None] = "*.tar"

    format: Literal["webdataset"]

    @property
    def images_root(self) -> str:
        """The folder of the tars."""
        return _folder(self.paths[0])

    @field_validator("path")
    @classmethod
    def _one_folder(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        folders = {_folder(entry) for entry in ((path,) if isinstance(path, str) else path)}
        if len(folders) > 1 or any("*" in folder for folder in folders):
            raise ValueError("is to be one img2dataset folder, or tars in one (folder/*.tar); write a source for each")
        return path


def _folder(path: str) -> str:
    """Return the folder that a path means: itself, or where its tars lie."""
    return path.rpartition("/")[0] or "." if path.endswith(".tar") else path.rstrip("/")


class HumanSource(SourceSettings):
    """Captions that people wrote for images that lie in a folder or under a web address."""

    human: ClassVar[bool] = True
    places: ClassVar[frozenset[str]] = frozenset({"path", "images"})

    images: str
    """The root of the images: a folder, an fsspec URL, or an http(s) address that they are downloaded from."""

    @property
    def images_root(self) -> str | None:
        """The folder of the images, None where they are downloaded."""
        return None if is_web(self.images) else self.images

    def identity(self) -> dict[str, Any]:
        """As for every source; a web address of the images counts, for it becomes part of the `url` column."""
        return super().identity() | {"images": self.images if is_web(self.images) else None}


class CocoSource(HumanSource):
    """COCO captions in Karpathy's split: `dataset_coco.json`, or a list of {image, caption, image_id} (BLIP, LAVIS).

    His `dataset_flickr30k.json` is read in the same way; it has no `filepath` and no `cocoid`.
    Own columns: `filepath`, `filename`, `cocoid`, `split`; for the list `image`, `image_id`.
    """

    format: Literal["coco"]
    splits: tuple[Literal["train", "restval", "val", "test"], ...] = ("train", "restval")
    """What is taken of dataset_coco.json; the lists of BLIP and LAVIS hold one split each and are taken whole."""

    def overlaps(self, other: SourceSettings) -> bool:
        """As for every source; different splits have no row in common."""
        apart = isinstance(other, CocoSource) and set(self.splits).isdisjoint(other.splits)
        return super().overlaps(other) and not apart


class VgSource(HumanSource):
    """Visual Genome: `region_descriptions.json`, or a list of {image, caption} (BLIP, LAVIS).

    An image is looked for by its file name in `images`, `images`/VG_100K and `images`/VG_100K_2, so the folders that
    the lists were written with do not matter. Own columns: `image_id`; for the list `image`.
    """

    format: Literal["vg"]


Source = Annotated[
    LaionSource
    | ParquetSource
    | CsvSource
    | JsonlSource
    | Cc3mSource
    | Cc12mSource
    | SbuSource
    | CocoSource
    | VgSource
    | WebDatasetSource,
    Field(discriminator="format"),
]
"""One entry of a manifest's `sources:`."""


class UrlsRecipe(Recipe):
    """How the sources are cut."""

    shard_size: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Rows in a shard; only the last one of a file has fewer."""


class UrlsRun(RunOptions):
    """How the sources are read."""


SPEC = StageSpec(
    name="urls",
    version=1,
    inputs=(),
    recipe=UrlsRecipe,
    run=UrlsRun,
    compute="stages.urls.compute:Urls",
)
