"""The candidates of a shard: every caption of its images, whoever wrote it; and what is said of them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.contract.work import Inputs

CANDIDATE: Final = ("key", "writer", "candidate")
"""The columns that a candidate is known by."""
_CANDIDATES: Final = 2**16
"""A writer has fewer for an image."""


def read_candidates(shard: Inputs, columns: Sequence[str]) -> pa.Table:
    """All captions of a shard, one writer's after the other's, in the order of the manifest.

    Args:
        shard: with the role `captions`.
        columns: what is read beside `CANDIDATE`.
    """
    tables = [artifact.table([*CANDIDATE, *columns]) for artifact in shard.all("captions")]
    return pa.concat_tables([table.replace_schema_metadata() for table in tables])


def candidate_ids(candidates: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image of every candidate, numbered from 0 in order of appearance, and its place among those of its image.

    The places follow the writers in order of appearance, then the candidates' numbers.

    Raises:
        ValueError: a candidate appears twice.
    """
    image, place = (_numbered(candidates, candidates, "key"), _places(candidates, candidates))
    if len(np.unique(_ids(candidates, candidates))) < len(image):
        raise ValueError("the captions tables list a candidate twice")
    return image, place


def writers_of(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """The writers of candidates, numbered from 0 in order of appearance, by their places among those of an image."""
    return place // _CANDIDATES


def scores_of(candidates: pa.Table, scores: pa.Table, column: str) -> NDArray[np.float32]:
    """A column of `scores` in the order of the candidates; NaN where it is null.

    Raises:
        ValueError: the two tables do not cover the same candidates, each once.
    """
    values: NDArray[np.float32] = scores[column].to_numpy().astype(np.float32)
    known = list(CANDIDATE)
    if scores.select(known).equals(candidates.select(known)):
        return values
    wanted, found = _ids(candidates, candidates), _ids(candidates, scores)
    by_want, by_found = np.argsort(wanted), np.argsort(found)
    if not np.array_equal(wanted[by_want], found[by_found]):
        odd = np.setxor1d(wanted, found).size
        raise ValueError(f"the table of {column} does not cover the captions' candidates: {odd} in one table only")
    ordered = np.empty(len(values), np.float32)
    ordered[by_want] = values[by_found]
    return ordered


def are_among(candidates: pa.Table, rows: pa.Table) -> NDArray[np.bool_]:
    """Which of the candidates a table with the columns `CANDIDATE` names."""
    return np.isin(_ids(candidates, candidates), _ids(candidates, rows))


def _ids(candidates: pa.Table, table: pa.Table) -> NDArray[np.int64]:
    """A number for every row of a table, by image, writer and number; negative where the candidates have none such."""
    image, place = _numbered(candidates, table, "key"), _places(candidates, table)
    writers = len(candidates["writer"].unique())
    return np.where((image < 0) | (place < 0), -1, image * writers * _CANDIDATES + place)


def _places(candidates: pa.Table, table: pa.Table) -> NDArray[np.int64]:
    writer = _numbered(candidates, table, "writer")
    return np.where(writer < 0, -1, writer * _CANDIDATES + table["candidate"].to_numpy().astype(np.int64))


def _numbered(candidates: pa.Table, table: pa.Table, column: str) -> NDArray[np.int64]:
    """The place of every row's value among the candidates' distinct ones; -1 where it is not among them."""
    places = pc.index_in(table[column], value_set=candidates[column].combine_chunks().unique())
    numbers: NDArray[np.int64] = pc.fill_null(places, -1).to_numpy().astype(np.int64)
    return numbers
