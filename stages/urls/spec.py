"""What a manifest's `sources:` may be, and the stage that cuts them into URL shards of a fixed size.

The *web* formats name an image by its URL and give one noisy text; the *human* formats (COCO, NoCaps, Visual Genome)
give one row per image with all its captions, or (VQA) all questions about it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from stages.contract import Recipe, RunOptions, StageSpec
from stages.io import tars
from stages.urls.settings import HumanSource, NamedColumns, QuestionSource, SourceSettings, is_web, packed_or_not


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
    """A CSV file with a header line, compressed or not.

    It has no types: `keep` takes every column as text, an empty field as null; `where` compares what looks like a
    number as a number. Of two columns of one name the second has a number, as in DuckDB: `tag`, `tag_1`.
    """

    folder_glob: ClassVar[tuple[str, ...]] = packed_or_not("*.csv", "*.tsv")

    format: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What separates two fields; `"\\t"` for a TSV file."""
    quote: Annotated[str, Field(max_length=1)] | None = None
    """What a field stands in that holds delimiters or line breaks; `""` where quotes mean nothing. Null is `"` for CSV
    and nothing for TSV, which has no quoting: a line is a row."""

    def quote_for(self, delimiter: str) -> str:
        """Return the quote of a file whose fields are separated so; "" for none."""
        if self.quote is not None:
            return self.quote
        return "" if delimiter == "\t" else '"'


class JsonlSource(NamedColumns):
    """One JSON object a line, compressed or not.

    `keep` takes every column as text: what is no string as its JSON. `where` compares numbers as numbers.
    """

    folder_glob: ClassVar[tuple[str, ...]] = packed_or_not("*.jsonl", "*.ndjson")

    format: Literal["jsonl"]


class JsonSource(NamedColumns):
    """A JSON list of objects, compressed or not: BLIP's `[{url, caption}]`, and what `export --to json` writes.

    Also an object with such a list under `annotations`, as RedCaps'. Columns are as in `JsonlSource`.
    """

    folder_glob: ClassVar[tuple[str, ...]] = packed_or_not("*.json")
    places: ClassVar[frozenset[str]] = frozenset({"path", "images"})

    format: Literal["json"]
    url: str = "url"
    """The column with the image's address."""
    text: str = "caption"
    """The column with the web text."""
    images: str | None = None
    """The root of the images that an entry without a url names under `image`: a folder, an fsspec URL, or an http(s)
    address that they are downloaded from."""

    @property
    def url_names(self) -> tuple[str, ...]:
        """The names of the columns that say where an image is."""
        return (self.url,) if self.images is None else (self.url, "image")

    @property
    def images_root(self) -> str | None:
        """The folder of the images, None where all are downloaded."""
        return None if self.images is None or is_web(self.images) else self.images

    def identity(self) -> dict[str, Any]:
        """As for every source; a web address of the images counts, for it becomes part of the `url` column."""
        return super().identity() | {"images": self.images if is_web(self.images or "") else self.images is not None}


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
    """Images that are there already, with their texts: what img2dataset has written, or tars of anybody's.

    `path` names tars (.tar, .tar.gz, .tgz ...), or the folder that they lie in; or such a folder of img2dataset's
    output formats `files` and `parquet`, or the tables in it. Uncompressed tars stay where they are and are read there;
    the images of all others are stored with the results. Own columns: those of the `.parquet` beside a tar; without it
    the fields of the `.json` members, as text.
    """

    folder_glob: ClassVar[str | None] = "*"
    packed: ClassVar[bool] = True

    format: Literal["webdataset"]

    @property
    def images_root(self) -> str:
        """The folder that all tars lie below."""
        return _common_folder(self.paths)

    @field_validator("path")
    @classmethod
    def _one_place(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        _common_folder((path,) if isinstance(path, str) else path)
        return path


def _common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all files of some paths lie below.

    Raises:
        ValueError: there is none, since they lie on different disks or in different buckets.
    """
    folders = list(dict.fromkeys(map(fixed_folder, paths)))
    if len(folders) == 1 and not folders[0].endswith(":/"):
        return folders[0]
    protocols = {folder.partition("://")[0] if "://" in folder else "" for folder in folders}
    if protocols == {""} and len(folders) > 1:
        return os.path.commonpath([os.path.abspath(os.path.expanduser(folder)) for folder in folders])  # noqa: PTH100, PTH111
    common = os.path.commonpath([folder.partition("://")[2] for folder in folders]) if len(protocols) == 1 else ""
    if not common:
        raise ValueError("names tars on different disks or in different buckets; write a source for each")
    return f"{protocols.pop()}://{common}"


def fixed_folder(path: str) -> str:
    """Return the folder that a path names, as far as no pattern begins in it."""
    pattern = re.search(r"[*?{[]", path)
    if pattern is None and not path.lower().endswith((*tars.ENDINGS, ".parquet")):
        return path.rstrip("/") or "/"
    folder, slash, _ = path[: pattern.start() if pattern else None].rpartition("/")
    return folder or slash or "."


class CocoSource(HumanSource):
    """COCO captions in Karpathy's split, as released, or as a list of {image, caption, image_id} (BLIP, LAVIS).

    His `dataset_flickr30k.json` is read as his `dataset_coco.json` is; it has no `filepath` and no `cocoid`. As
    released means `captions_train2017.json` and the like, whose images name no folders.
    Own columns: `filepath`, `filename`, `cocoid`, `split`; as released `id`, `file_name`, `coco_url`, `flickr_url`,
    `width`, `height`, `license`, `date_captured`; of the list `image`, `image_id`.
    """

    chooses: ClassVar[frozenset[str]] = frozenset({"where", "splits"})

    format: Literal["coco"]
    splits: tuple[Literal["train", "restval", "val", "test"], ...] = ("train", "restval")
    """What is taken of dataset_coco.json; all other files hold one split each and are taken whole."""

    def overlaps(self, other: SourceSettings) -> bool:
        """As for every source; different splits have no row in common."""
        apart = isinstance(other, CocoSource) and set(self.splits).isdisjoint(other.splits)
        return super().overlaps(other) and not apart


class NocapsSource(HumanSource):
    """NoCaps as released: `nocaps_val_4500_captions.json`.

    Own columns: those of COCO as released, `open_images_id` and `domain`, which is `in-domain`, `near-domain` or
    `out-domain`. `id`, by which results name an image, and `domain` are carried along unless `keep` says otherwise.
    """

    format: Literal["nocaps"]
    keep: tuple[str, ...] = ("id", "domain")


class VgSource(HumanSource):
    """Visual Genome: `region_descriptions.json`, or a list of {image, caption} (BLIP, LAVIS).

    An image is looked for by its file name in `images`, `images`/VG_100K and `images`/VG_100K_2, so the folders that
    the lists were written with do not matter. Own columns: `image_id`; for the list `image`.
    """

    format: Literal["vg"]


class VqaSource(QuestionSource):
    """VQAv2 as released: `v2_OpenEnded_mscoco_train2014_questions.json` and the like, about COCO's images.

    `path` names the files of questions; that of the annotations, `v2_mscoco_train2014_annotations.json`, is looked for
    beside each, and may be absent only of what is measured on. Or a list of {question, answer, image, dataset} as BLIP
    and LAVIS have it (`vqa_train.json`). An answer of an annotator counts as his share of the question's.
    Own columns: `image_id`; of the list `image`.
    """

    format: Literal["vqa"]


class VgQaSource(QuestionSource):
    """Questions of Visual Genome: `question_answers.json` as released, or BLIP's list of them, `vg_qa.json`.

    Images are looked for as for `vg`. The one answer of a question counts 0.2, as in BLIP.
    Own columns: `image_id`; of the list `image`.
    """

    format: Literal["vg_qa"]


Source = Annotated[
    LaionSource
    | ParquetSource
    | CsvSource
    | JsonlSource
    | JsonSource
    | Cc3mSource
    | Cc12mSource
    | SbuSource
    | CocoSource
    | NocapsSource
    | VgSource
    | VqaSource
    | VgQaSource
    | WebDatasetSource,
    Field(discriminator="format"),
]
"""One entry of a manifest's `sources:`."""


class UrlsRecipe(Recipe):
    """How the sources are cut."""

    shard_size: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Rows in a shard; the last one of a file has fewer. Rows that are in a shard already stay there."""


class UrlsRun(RunOptions):
    """How the sources are read."""


SPEC = StageSpec(
    name="urls",
    version=4,
    reads={},
    writes="urls",
    recipe=UrlsRecipe,
    run=UrlsRun,
    compute="stages.urls.compute:Urls",
    grain="file",
    implied=True,
)
