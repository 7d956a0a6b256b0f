"""From committed tables to images and their captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.contract import CorpusShard
from stages.training.corpus import Corpus
from stages.training.counting import Began, Size, count
from stages.training.examples import Choice, is_held_out, read_shard
from stages.training.order import mix
from stages.training.place import Place

ALL = Choice(holdout=0)


def make_corpus(shards: list[CorpusShard], window: int, choice: Choice = ALL) -> Corpus:
    return Corpus(shards, count(shards, choice, 1, Place()), choice, window)


def test_kept_captions_come_by_rank_and_cleaned(make_corpus_shard):
    shard = make_corpus_shard(
        {"a": b"image a", "b": None, "c": b"image c!"},
        [
            ("a", 0, "Thumbnail", None, False),
            ("a", 1, "Second best.", 2, True),
            ("a", 2, "The  BEST!", 1, True),
            ("a", 3, "second best", 3, True),
            ("c", 1, "...", 1, True),
        ],
    )
    found = read_shard(shard, ALL)
    assert [(example.key, example.captions) for example in found.training] == [("a", ("the best", "second best"))]
    assert found.training[0].member.read() == b"image a"
    assert found.holdout == ()


def test_captions_come_by_rank_whatever_their_numbers(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 1, "two", 2, True), ("a", 2, "one", 1, True)])
    assert read_shard(shard, ALL).training[0].captions == ("one", "two")


def test_a_kept_caption_that_is_missing_is_an_error(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 1, "one", 1, True), ("a", 2, "two", 2, True)])
    lacking = make_corpus_shard({"a": b"1"}, [("a", 1, "one", 1, True)])
    with pytest.raises(ValueError, match="lacks 1 caption"):
        read_shard(replace(shard, inputs={**shard.inputs, "captions": lacking.all("captions")}), ALL)


def test_every_image_is_found_in_its_tar(corpus):
    found = [example for shard in corpus for example in read_shard(shard, ALL).training]
    assert len(found) == 48
    assert all(example.member.read().startswith(b"\x89PNG") for example in found)


def test_equal_images_are_one_and_lie_on_one_side(make_corpus_shard):
    keys = [f"k{number}" for number in range(60)]
    shards = [
        make_corpus_shard(
            {f"{part}-{key}": key.encode() for key in keys},
            [(f"{part}-{key}", 1, "text", 1, True) for key in keys],
            digests={f"{part}-{key}": key for key in keys},
        )
        for part in "ab"
    ]
    one, other = (read_shard(shard, Choice(0.3)) for shard in shards)
    for side in range(2):
        assert [example.identity for example in one[side]] == [example.identity for example in other[side]]
        assert len({example.identity for example in one[side]}) == len(one[side])
    assert 8 < len(one.holdout) < 30
    assert count(shards, Choice(0.3), 2, Place()).sizes == (Size(len(one.training), len(one.holdout)),) * 2


def test_what_is_held_out_follows_from_the_image_alone():
    images = [mix("image", f"digest {number}") for number in range(4000)]
    some = {image for image in images if is_held_out(image, 0.1)}
    assert len(some) == pytest.approx(400, abs=60)
    assert some < {image for image in images if is_held_out(image, 0.2)}
    assert not any(is_held_out(image, 0.0) for image in images)


def test_shards_are_forgotten_and_found_again(make_corpus_shard):
    shards = [
        make_corpus_shard({f"{part}-a": b"1"}, [(f"{part}-a", 1, f"text {part}", 1, True)], name=str(part))
        for part in range(12)
    ]
    corpus = make_corpus(shards, window=1)
    for part in (*range(12), *range(12)):
        assert corpus.training(part)[0].captions == (f"text {part}",)
    assert len(corpus._known) == 3
    assert corpus.size == Size(12)


def test_a_source_is_a_line_without_its_empty_shards(make_corpus_shard):
    full = make_corpus_shard({"a": b"1", "b": b"2"}, [("a", 1, "one", 1, True), ("b", 1, "two", 1, True)])
    empty = make_corpus_shard({"a": None}, [])
    shards = [full, empty, replace(full, source="human")]
    corpus = make_corpus(shards, window=4)
    assert [(line.source, line.shards, line.sizes) for line in corpus.lines(0, {})] == [
        ("web", (0,), (2,)),
        ("human", (2,), (2,)),
    ]


def test_an_image_comes_once_for_each_caption_where_pairs_count(make_corpus_shard):
    shard = make_corpus_shard(
        {"a": b"1", "b": b"2"}, [("a", 1, "one", 1, True), ("a", 2, "two", 2, True), ("b", 1, "x", 1, True)]
    )
    pairs = Choice(0, by_caption=True)
    assert [(each.key, each.captions) for each in read_shard(shard, pairs).training] == [
        ("a", ("one",)),
        ("a", ("two",)),
        ("b", ("x",)),
    ]
    assert count([shard], pairs, 1, Place()).sizes == (Size(3),)


def test_without_a_selection_all_captions_are_read(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 0, "Web text.", None, False), ("a", 1, "one", 1, True)])
    bare = replace(shard, inputs={role: found for role, found in shard.inputs.items() if role != "selection"})
    assert read_shard(bare, ALL).training[0].captions == ("web text", "one")


def test_what_people_said_of_another_image_is_never_read(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 0, "other", None, False), ("a", 1, "one", 1, True)])
    captions = shard.one("captions").table()
    shuffled = captions.set_column(captions.schema.get_field_index("origin"), "origin", [["shuffled", "human"]])
    pq.write_table(shuffled, shard.one("captions").url)
    bare = replace(shard, inputs={role: found for role, found in shard.inputs.items() if role != "selection"})
    for origin in (None, "human"):
        assert read_shard(bare, Choice(0, origin=origin)).training[0].captions == ("one",)


def test_images_that_others_measure_on_and_those_without_a_word_are_left_out_and_counted(make_corpus_shard):
    said = {"a": "one", "b": "!", "c": "x"}
    shard = make_corpus_shard({key: key.encode() for key in said}, [(key, 1, said[key], 1, True) for key in said])
    choice = Choice(0, measured=frozenset({mix("image", "c")}))
    assert [each.key for each in read_shard(shard, choice).training] == ["a"]
    assert count([shard], choice, 1, Place()).sizes == (Size(training=1, measured=1, wordless=1),)


def test_what_has_gone_since_the_beginning_is_a_gap_and_what_came_is_not_taken(make_corpus_shard):
    def shard(keys: str, name: str) -> CorpusShard:
        return make_corpus_shard(
            {key: key.encode() for key in keys}, [(key, 1, key, 1, True) for key in keys], name=name
        )

    before, now = [shard("abcd", "0"), shard("ef", "1")], [shard("abc", "0"), shard("gh", "2")]
    began, after = (count(shards, ALL, 1, Place()) for shards in (before, now))
    change = began.change(after)
    assert change.share == pytest.approx((1 + 2 + 2) / (4 + 2 + 2))
    assert began.change(began).share == 0
    corpus = Corpus(now, Began.from_json(began.as_json()), ALL, 2)
    assert corpus.lines(0, {})[0].sizes == (4, 2)
    assert [[each.key for each in corpus.training(number)] for number in range(2)] == [["a", "b", "c"], []]


def test_what_is_measured_on_comes_of_every_source(make_corpus_shard):
    def shard(source: str, count: int) -> CorpusShard:
        keys = [f"{source}{number}" for number in range(count)]
        made = make_corpus_shard({key: key.encode() for key in keys}, [(key, 1, key, 1, True) for key in keys])
        return replace(made, source=source)

    corpus = make_corpus([shard("web", 300), shard("human", 100)], 1, Choice(0.5))
    found = [example.key.rstrip("0123456789") for example in corpus.held_out(20)]
    assert len(found) == 20
    assert 10 <= found.count("web") <= 17


def test_a_tar_that_lacks_an_image_is_named(make_corpus_shard):
    whole = make_corpus_shard({"a": b"1", "b": b"2"}, [("a", 1, "x", 1, True), ("b", 1, "y", 1, True)])
    lacking = make_corpus_shard({"a": b"1"}, [])
    Path(whole.one("images").side("tar")).write_bytes(Path(lacking.one("images").side("tar")).read_bytes())
    with pytest.raises(ValueError, match=r"lacks 1 image.*b\.png first"):
        read_shard(whole, ALL)
