r"""What every text of a list becomes before anything else sees it: valid Unicode without NUL.

Bytes that are no UTF-8, half of a surrogate pair (as `\ud83d` alone in JSON) and NUL can neither be stored nor shown.
Each becomes U+FFFD and costs no more than its place in its own text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

REPLACEMENT = "\ufffd"
_ODD = re.compile("[\0\ud800-\udfff]")


def clean_text(value: str) -> str:
    """Return a text with U+FFFD for what is no text; the two halves of a pair become the character that they mean.

    What `bytes.decode("utf-8", "surrogateescape")` could not read is taken for what it is.
    """
    if not _ODD.search(value):
        return value
    whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", REPLACEMENT)


def text_array(values: Sequence[str | None]) -> tuple[pa.Array, list[int]]:
    """Return texts as an Arrow array of strings, cleaned, and the positions of those that were not clean."""
    try:
        array = pa.array(values, pa.string())
    except UnicodeEncodeError:
        return _cleaned(values)
    return _cleaned(values) if _has_nul(array) else (array, [])


def clean_array(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return an Arrow array of strings or bytes as strings, cleaned, and the positions of those that were not clean.

    Arrow does not look whether the strings of a Parquet file are UTF-8, and what reads them later does.
    """
    kind = pa.large_string() if pa.types.is_large_binary(array.type) else pa.string()
    strings = array.view(kind) if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) else array
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        is_clean = False
    else:
        is_clean = not _has_nul(strings)
    if is_clean:
        return strings.cast(pa.string()), []
    raw = strings.cast(pa.large_binary()).to_pylist()
    return _cleaned([None if value is None else value.decode("utf-8", "surrogateescape") for value in raw])


def clean_column(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return an array of any type with its strings cleaned, those inside lists and structs too; the type stays.

    Also returns the positions of the values that were not clean.
    """
    kind = array.type
    if is_string(kind):
        clean, damaged = clean_array(array)
        return (clean.cast(kind), damaged) if damaged else (array, [])
    if pa.types.is_dictionary(kind) and is_string(kind.value_type):
        clean, damaged = clean_array(array.dictionary)
        rows = [at for at, index in enumerate(array.indices.to_pylist()) if index in damaged] if damaged else []
        return pa.DictionaryArray.from_arrays(array.indices, clean.cast(kind.value_type)), rows
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _clean_inside(array), [at for at, value in enumerate(array) if not _is_readable(value)]
    return array, []


def _clean_inside(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_struct(kind):
        parts = [clean_column(part)[0] for part in array.flatten()]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        return make.from_arrays(array.offsets, clean_column(array.values)[0], type=kind, mask=array.is_null())
    if pa.types.is_map(kind):
        keys, items = clean_column(array.keys)[0], clean_column(array.items)[0]
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=kind)
    return array


def _is_readable(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def is_string(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's three of strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _has_nul(strings: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(strings, "\0")).as_py())


def _cleaned(values: Sequence[str | None]) -> tuple[pa.Array, list[int]]:
    clean = [None if value is None else clean_text(value) for value in values]
    damaged = [at for at, (value, text) in enumerate(zip(values, clean, strict=True)) if value != text]
    return pa.array(clean, pa.string()), damaged
