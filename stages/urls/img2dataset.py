"""img2dataset's tables: beside a tar, beside a folder of images, or with the images in a column of their own."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import UserError
from stages.urls import parquet
from stages.urls.batch import Batch, column_named, content, required_column, text_column
from stages.urls.damage import Damage
from stages.urls.files import Files, filesystem
from stages.urls.members import images_of
from stages.urls.samples import IMAGES, name_of

SUCCESS = "success"
FilesOf = Callable[[pa.RecordBatch, Sequence[int]], list[str]]
"""(rows of the table, their numbers from 1) -> the `file` of each image."""


def schema(files: Files) -> pa.Schema:
    """Return the columns of the table, but for the one that holds the images."""
    found = parquet.schema(None, files[-1:])
    inside = _image_column(files, found)
    return pa.schema([field for field in found if field.name != inside])


def read(files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row for every image that was downloaded.

    Raises:
        UserError: the table does not fit what lies beside it, or nothing lies there.
    """
    table = files[-1]
    found = parquet.schema(None, (table,))
    if (inside := _image_column(files, found)) is not None:
        base = f"{posixpath.basename(table)}/{inside}"
        yield from _rows(
            table, found.names, [], columns, lambda _, numbers: [f"{base}/{n - 1}" for n in numbers], damage
        )
        return
    key = required_column(found.names, ["key"], key="img2dataset's key column", place=table)
    beside = _Beside(files, key, damage)
    beside.check(table)
    yield from _rows(table, found.names, [key], columns, beside, damage)
    beside.tell_unlisted()


def _image_column(files: Files, found: pa.Schema) -> str | None:
    """Return the column that the images are in, None where they lie beside the table."""
    if len(files) > 1:
        return None
    return next((field.name for field in found if field.name.lower() in IMAGES and _is_binary(field.type)), None)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(  # noqa: PLR0913, PLR0917  # what a table's rows are made of
    table: str, names: Sequence[str], needed: Sequence[str], columns: Sequence[str], files_of: FilesOf, damage: Damage
) -> Iterator[Batch]:
    """Yield the rows whose images were downloaded; `needed` are the columns that `files_of` looks at."""
    damage.counting("row", judged=False)
    asked = {name: column_named(names, name) for name in ("url", "caption")}
    there = {name: column for name, column in asked.items() if column is not None}
    for numbers, rows in _downloaded(table, names, [*needed, *there.values(), *columns]):
        arrays = {"file": text_column("file", files_of(rows, numbers), numbers, damage)}
        for name, column in (("url", "url"), ("text", "caption")):
            if column in there:
                arrays[name] = parquet.as_text(rows, there[column], numbers, damage)
        own = parquet.storable(rows.select(columns), numbers, damage)
        yield Batch(content(rows.num_rows, **arrays), own, numbers)


def _downloaded(
    table: str, names: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[Sequence[int], pa.RecordBatch]]:
    """Yield the rows whose images were downloaded, and their numbers in the table, from 1."""
    status = column_named(names, "status")
    first = 1
    for rows in parquet.batches(table, [*columns, *([status] if status is not None else [])]):
        numbers = pa.array(range(first, first := first + rows.num_rows))
        if status is None:
            yield numbers.to_pylist(), rows
        else:
            is_there = pc.fill_null(pc.equal(rows.column(status), SUCCESS), fill_value=False)
            yield numbers.filter(is_there).to_pylist(), rows.filter(is_there)


class _Beside:
    """The images beside a table, looked up by its keys.

    Args:
        files: a tar and its table; or a table alone, with the folder of the same name.
        key: the table's column of keys.
        damage: is told of images that the table does not list.
    """

    def __init__(self, files: Files, key: str, damage: Damage) -> None:
        self._place = files[0] if len(files) > 1 else files[0].removesuffix(".parquet")
        self._unit = "member" if len(files) > 1 else "file"
        self._key = key
        self._damage = damage
        self._images = images_of(files[0], damage) if len(files) > 1 else _images_in(self._place, files[0])
        self._by_key: dict[str, str] = {}
        for image in self._images:
            stem = name_of(image).stem
            self._by_key.setdefault(stem, image)
            self._by_key.setdefault(posixpath.basename(stem), image)  # it may have been packed anew, with its folder
        self._ending = next((name_of(image).ending for image in self._images), "jpg")
        self._listed: set[str] = set()

    def check(self, table: str) -> None:
        """See that the table is about these images.

        Raises:
            UserError: not one of those that it lists is there.
        """
        keys = {key for _, rows in _downloaded(table, [self._key], [self._key]) for key in _texts(rows, self._key)}
        if keys and self._images and keys.isdisjoint(self._by_key):
            raise UserError(f"{table} lists none of the images in {self._place}; put the right one there, or none")

    def __call__(self, rows: pa.RecordBatch, _: Sequence[int]) -> list[str]:
        """Return the files of rows; one that is not there is called as img2dataset would have called it."""
        keys = [key or "" for key in _texts(rows, self._key)]
        images = [self._by_key.get(key, f"{key}.{self._ending}") for key in keys]
        self._listed.update(images)
        return [f"{posixpath.basename(self._place)}/{image}" for image in images]

    def tell_unlisted(self) -> None:
        """Tell which images no row lists."""
        self._damage.counting(self._unit, judged=False)
        for image, number in self._images.items():
            if image not in self._listed:
                self._damage.left_out(number, f"{image!a} is an image that the table does not list")


def _texts(rows: pa.RecordBatch, column: str) -> list[str | None]:
    texts: list[str | None] = rows.column(column).cast(pa.string()).to_pylist()
    return texts


def _images_in(folder: str, table: str) -> Mapping[str, int]:
    """Return the images of a folder, numbered by their names' order.

    Raises:
        UserError: there is no such folder.
    """
    files, inner = filesystem(folder)
    if not files.isdir(inner):
        raise UserError(
            f"{table} has no images: neither a column of them nor, beside it, a tar or a folder of its name"
        )
    names = sorted(str(name).rstrip("/").rpartition("/")[2] for name in files.ls(inner, detail=False))
    return {name: number for number, name in enumerate(names, start=1) if name_of(name).ending in IMAGES}
