"""What the entries of a manifest's `sources:` share: where a list lies, which of its rows count and what they are for.

A source is a list of images with texts. Column names are matched as DuckDB does: upper and lower case are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator

from stages.contract import Settings, Use


def packed_or_not(*globs: str) -> tuple[str, ...]:
    """Return globs for the names of files and of the same files compressed."""
    return tuple(f"{glob}{ending}" for glob in globs for ending in ("", ".gz", ".zst", ".bz2", ".xz"))


def is_web(path: str) -> bool:
    """Tell whether a path is an http(s) address."""
    return path.startswith(("http://", "https://"))


class SourceSettings(Settings):
    """What all sources share."""

    human: ClassVar[bool] = False
    """Whether people wrote the captions for these images."""
    packed: ClassVar[bool] = False
    """Whether its files hold the images themselves, or name such as do."""
    folder_glob: ClassVar[str | tuple[str, ...] | None] = None
    """What is taken when `path` is a folder; None where a folder makes no sense."""
    places: ClassVar[frozenset[str]] = frozenset({"path"})
    """The settings that say where the data lies, not what it is."""
    chooses: ClassVar[frozenset[str]] = frozenset({"where"})
    """The settings that say which rows count, not what they are."""

    format: str
    """What kind of files they are."""
    path: str | tuple[str, ...]
    """A file, a glob or a list of them: paths relative to the working folder, or any fsspec URL (`s3://`, `https://`)."""
    where: str | None = None
    """A DuckDB condition over the source's own columns; the rows where it is false or null are left out."""
    use: Literal["web", "pairs", "both", "measure"] | None = None
    """What the rows are for (`stages.contract.ports`); None: `pairs` where people wrote the texts, else `web`."""
    keep: tuple[str, ...] = ()
    """Own columns of the source that the URL table carries along under the names written here; one that is called like
    a column of ours is `list_<name>` there, see `stages.own_columns`."""

    @property
    def used(self) -> Use:
        """What the rows are for."""
        return self.use or ("pairs" if self.human else "web")

    @property
    def trusted(self) -> bool:
        """Whether a row's texts are taken as people's, and kept as they are."""
        return self.used != "web"

    @property
    def paths(self) -> tuple[str, ...]:
        """The entries of `path`."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def images_root(self) -> str | None:
        """The folder that the `file` column is relative to; None where images come from the web."""
        return None

    def identity(self) -> dict[str, Any]:
        """Everything here that changes what a row is, not which rows there are, without paths and hosts."""
        values = self.model_dump(mode="json", exclude={"use", *self.chooses, *self.places})
        return {**values, "trusted": self.trusted}

    def chosen(self) -> dict[str, Any]:
        """Everything here that says which rows count."""
        return self.model_dump(mode="json", include=set(self.chooses))

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
    def _once(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(keep)) < len(keep):
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


class QuestionSource(HumanSource):
    """Questions about images that lie in a folder or under a web address, with people's answers."""

    use: Literal["questions", "measure"] | None = None  # type: ignore[assignment]  # not those of captions
    """What they are for: learnt from, or measured on; None: `questions`."""

    @property
    def used(self) -> Use:
        """What the rows are for."""
        return "measure_questions" if self.use == "measure" else "questions"
