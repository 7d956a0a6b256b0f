"""The output of an earlier img2dataset run: the table beside each tar, or else what the tar itself says.

Nothing is downloaded again: `file` is "<tar>/<member>" below the folder.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import UserError
from stages.urls import parquet
from stages.urls.batch import (
    Batch,
    Reader,
    chunks,
    column_named,
    content,
    own_columns,
    required_column,
    text_column,
)
from stages.urls.damage import Damage
from stages.urls.files import Files, open_tar
from stages.urls.json_value import as_texts
from stages.urls.objects import text_schema
from stages.urls.spec import WebDatasetSource

IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"})
SUCCESS = "success"


def schema(source: WebDatasetSource, files: Files) -> pa.Schema:
    """Return the columns of the table beside the tar, or the fields of the tar's first sample."""
    if len(files) == 2:
        return parquet.schema(source, files[1:])
    return text_schema(fields for _, fields in [next(_samples(files[0]), ("", {}))])


def read(source: WebDatasetSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row for every image that was downloaded."""
    if len(files) == 2:
        return _read_table(files, columns, damage)
    return _read_tar(files[0], schema(source, files), columns, damage)


def _read_table(files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    tar, table = files
    names = parquet.schema(None, (table,)).names
    key = required_column(names, ["key"], key="img2dataset's key column", place=table)
    asked = {name: column_named(names, name) for name in ("url", "caption", "status")}
    there = {name: column for name, column in asked.items() if column is not None}
    ending = _image_ending(tar)
    damage.counting("row")
    first = 1
    for rows in parquet.batches(table, [key, *there.values(), *columns]):
        numbers: Sequence[int] = range(first, first := first + rows.num_rows)
        if "status" in there:
            success = pc.fill_null(pc.equal(rows.column(there["status"]), SUCCESS), False)  # noqa: FBT003
            rows = rows.filter(success)  # noqa: PLW2901
            numbers = [number for number, is_there in zip(numbers, success.to_pylist(), strict=True) if is_there]
        keys = parquet.as_text(rows, key, numbers, damage)
        arrays = {"file": pc.binary_join_element_wise(f"{PurePosixPath(tar).name}/", keys, f".{ending}", "")}
        for name, column in (("url", "url"), ("text", "caption")):
            if column in there:
                arrays[name] = parquet.as_text(rows, there[column], numbers, damage)
        own = parquet.storable(rows.select(columns), numbers, damage)
        yield Batch(content(rows.num_rows, **arrays), own, numbers)


def _read_tar(tar: str, own: pa.Schema, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    for some in chunks(damage.numbered(_samples(tar), "sample")):
        numbers, samples = [number for number, _ in some], [sample for _, sample in some]
        texts = [as_texts(fields, ("url", "caption")) for _, fields in samples]
        arrays = {
            "url": text_column("url", [fields["url"] for fields in texts], numbers, damage),
            "text": text_column("caption", [fields["caption"] for fields in texts], numbers, damage),
            "file": pa.array([f"{PurePosixPath(tar).name}/{member}" for member, _ in samples], pa.string()),
        }
        records = [as_texts(fields, columns) for _, fields in samples]
        yield Batch(content(len(samples), **arrays), own_columns(own, columns, records, numbers, damage), numbers)


def _image_ending(tar: str) -> str:
    """Return the ending of the tar's images: a run of img2dataset writes one format, so the first one tells."""
    with open_tar(tar) as archive:
        for member in archive:
            if (ending := _split(member.name)[1]) in IMAGES:
                return ending
    return "jpg"


def _samples(tar: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (image member, fields) of every image; the members of a sample follow one another under one key."""
    with open_tar(tar) as archive:
        current, image, fields = "", "", dict[str, Any]()
        for member in archive:
            key, ending = _split(member.name)
            if key != current:
                if image:
                    yield image, fields
                current, image, fields = key, "", {}
            if ending in IMAGES:
                image = member.name
            elif ending in {"json", "txt"}:
                fields = _merged(fields, ending, archive, member, tar)
        if image:
            yield image, fields


def _merged(
    fields: dict[str, Any], ending: str, archive: tarfile.TarFile, member: tarfile.TarInfo, tar: str
) -> dict[str, Any]:
    """Add what a .json or .txt member says of its sample; the .json's caption counts before the .txt's."""
    content = archive.extractfile(member)
    text = content.read().decode("utf-8", errors="replace") if content is not None else ""
    if ending == "txt":
        return {"caption": text} | fields
    try:
        described = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{tar}, member {member.name}: broken JSON: {error.msg}; remove the sample") from error
    if not isinstance(described, dict):
        raise UserError(f"{tar}, member {member.name}: no JSON object; remove the sample")
    return fields | described


def _split(member: str) -> tuple[str, str]:
    """Return a member's key and ending as WebDataset has them: up to the first dot of its name, and what follows."""
    path = PurePosixPath(member)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(stem or path.name)), ending.lower()


READER = Reader(schema, read)
