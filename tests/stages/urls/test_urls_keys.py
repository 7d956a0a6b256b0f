"""A row is known by its file's name, its address and its text; what is in shards already stays there."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.keys import row_of
from stages.urls.batch import CONTENT
from stages.urls.compute import Urls
from stages.urls.damage import Damage
from stages.urls.keys import (
    Repeats,
    file_id,
    keys_of,
    next_number,
    next_numbers,
    numbers_of,
    parse,
    row_hashes,
    shard_name,
)
from stages.urls.known import Counted, Held, Known
from stages.urls.parts import find_parts
from stages.urls.spec import UrlsRecipe, UrlsRun

FILE = file_id("web", "a.csv")
HASHES = st.lists(st.integers(0, 5).map(lambda number: number * 2**61), max_size=40)
"""Few different ones, so that they repeat."""


def content(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**dict.fromkeys(CONTENT.names), **row} for row in rows], schema=CONTENT)


def test_what_a_row_is_is_its_address_and_its_text() -> None:
    hashes = row_hashes(
        content(
            {"url": "a", "text": "b"},
            {"url": "a", "text": "b", "file": "c"},
            {"file": "a", "text": "b"},
            {"url": "a"},
            {"url": "a", "text": ""},
            {"url": "a", "text": "b", "texts": ["b", "c"]},
            {"url": "a\0b"},
            {"text": "a"},
        )
    ).tolist()
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[3] == hashes[4]
    assert len({hashes[at] for at in (0, 3, 5, 7)}) == 4


@given(batches=st.lists(HASHES, max_size=6))
def test_equal_rows_are_counted_over_all_batches(batches: list[list[int]]) -> None:
    repeats, seen = Repeats(), Counter[int]()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(seen[number])
            seen[number] += 1
        assert repeats(np.array(batch, np.uint64)).tolist() == expected


@given(sizes=st.lists(st.integers(1, 3000), max_size=5), seed=st.integers(0, 9))
def test_so_are_those_of_long_lists(sizes: list[int], seed: int) -> None:
    random, repeats, seen = np.random.default_rng(seed), Repeats(), Counter[int]()
    for size in sizes:
        batch = random.integers(0, 2000, size).astype(np.uint64)
        found = repeats(batch)
        for number, repeat in zip(batch.tolist(), found.tolist(), strict=True):
            assert repeat == seen[number]
            seen[number] += 1


@given(hashes=HASHES)
def test_a_key_says_what_it_was_made_of(hashes: list[int]) -> None:
    numbers = np.array(hashes, np.uint64)
    repeats = Repeats()(numbers)
    keys = keys_of(FILE, numbers, repeats)
    assert len(set(keys)) == len(keys)
    assert [found.tolist() for found in parse(FILE, keys)] == [hashes, repeats.tolist()]
    assert [int(row_of(key), 16) for key in keys] == hashes


def test_a_key_without_a_row_stands_for_itself() -> None:
    assert row_of("web-00000-00000") == "web-00000-00000"


ROWS = st.lists(st.integers(0, 30), max_size=30)


@given(before=ROWS, after=ROWS, size=st.integers(1, 7))
def test_new_rows_are_cut_and_those_that_stay_count_where_they_are(
    before: list[int], after: list[int], size: int
) -> None:
    def keys(rows: list[int]) -> tuple[list[str], np.ndarray]:
        hashes = np.array(rows, np.uint64)
        repeats = Repeats()(hashes)
        return keys_of(FILE, hashes, repeats), numbers_of(hashes, repeats)

    old, _ = keys(before)
    shards = {shard_name(FILE, at, old[at * size : at * size + size]): old[at * size : at * size + size]
              for at in range(-(-len(old) // size))}  # fmt: skip
    known = Known(FILE, [Held(name, own) for name, own in shards.items()])
    now, numbers = keys(after)
    new = known.see(numbers)
    assert {key for key, is_new in zip(now, new.tolist(), strict=True) if is_new} == set(now) - set(old)
    counted = {key for found in known.counted() for key in set(shards[found.shard]) - set(found.without)}
    assert counted == set(now) & set(old)
    assert all(found.rows == len(shards[found.shard]) - len(found.without) > 0 for found in known.counted())
    assert known.next_number == len(shards)


def test_a_row_in_several_shards_counts_in_the_last() -> None:
    keys = keys_of(FILE, np.array([1, 2, 3], np.uint64), np.zeros(3, np.int64))
    first, again = shard_name(FILE, 0, keys), shard_name(FILE, 1, keys[1:2])
    known = Known(FILE, [Held(first, keys), Held(again, keys[1:2], retry=1)])
    assert not known.see(np.array([1, 2, 3], np.uint64)).any()
    assert list(known.counted()) == [Counted(first, 2, (keys[1],)), Counted(again, 1, (), 1)]
    assert next_number([first, again]) == 2
    assert next_numbers([first, "web-0-00007-0", again]) == {FILE: 2, "web-0": 8}


@pytest.mark.parametrize("size", [1, 2, 100])
def test_keys_hang_on_no_order_and_no_size_of_shards(tmp_path: Any, source: Any, size: int) -> None:
    rows = [f"http://a.com/{number % 7}.jpg,{number % 7}" for number in range(20)]
    found = []
    for name, order in (("x", rows), ("y", rows[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("\n".join(["URL,TEXT", *order]) + "\n")
        (part,) = find_parts("web", source(format="csv", path=str(tmp_path / name / "*.csv")))
        cut = Urls(UrlsRecipe(shard_size=size), UrlsRun())(part, Damage("a"), Known(part.file))
        found.append({key for _, table in cut for key in table["key"].to_pylist()})
    assert found[0] == found[1]
    assert len(found[0]) == 20


def test_few_bytes_are_kept_of_a_row_that_is_known() -> None:
    rows, size = 20_000, 1_000
    hashes = np.arange(rows, dtype=np.uint64) * np.uint64(2**40)
    keys = keys_of(FILE, hashes, np.zeros(rows, np.int64))
    tracemalloc.start()
    known = Known(FILE, (Held(f"{FILE}-{at:05d}-0", keys[at : at + size]) for at in range(0, rows, size)))
    kept = tracemalloc.get_traced_memory()[0] / rows
    tracemalloc.stop()
    assert kept < 40
    assert not known.see(hashes).any()
