"""Putting the scores of a shard beside its captions, by (key, candidate)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_CANDIDATES = 2**16


def candidate_ids(captions: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image of every candidate, numbered from 0 in order of appearance, and its candidate number.

    Raises:
        ValueError: a candidate appears twice.
    """
    image = _numbered(captions, _keys(captions))
    candidate = captions["candidate"].to_numpy().astype(np.int64)
    if len(np.unique(image * _CANDIDATES + candidate)) < len(image):
        raise ValueError("the captions table lists a candidate twice")
    return image, candidate


def scores_of(captions: pa.Table, scores: pa.Table, column: str) -> NDArray[np.float32]:
    """A column of `scores` in the order of the captions; NaN where it is null.

    Raises:
        ValueError: the two tables do not cover the same candidates, each once.
    """
    values: NDArray[np.float32] = scores[column].to_numpy().astype(np.float32)
    if scores.select(["key", "candidate"]).equals(captions.select(["key", "candidate"])):
        return values
    keys = _keys(captions)
    wanted, found = _ids(captions, keys), _ids(scores, keys)
    by_want, by_found = np.argsort(wanted), np.argsort(found)
    if not np.array_equal(wanted[by_want], found[by_found]):
        odd = np.setxor1d(wanted, found).size
        raise ValueError(f"the table of {column} does not cover the captions' candidates: {odd} in one table only")
    ordered = np.empty(len(values), np.float32)
    ordered[by_want] = values[by_found]
    return ordered


def _keys(captions: pa.Table) -> pa.Array:
    return captions["key"].combine_chunks().unique()


def _numbered(table: pa.Table, keys: pa.Array) -> NDArray[np.int64]:
    """The place of every row's key in `keys`; -1 where it is not among them."""
    places = pc.index_in(table["key"], value_set=keys)
    numbers: NDArray[np.int64] = pc.fill_null(places, -1).to_numpy().astype(np.int64)
    return numbers


def _ids(table: pa.Table, keys: pa.Array) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = _numbered(table, keys) * _CANDIDATES + table["candidate"].to_numpy().astype(np.int64)
    return ids
