"""From committed tables to images and their captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stages.training.corpus import Corpus, count_images, is_held_out, read_shard
from stages.training.order import mix


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
    found = read_shard(shard, holdout=0)
    assert [(example.key, example.captions) for example in found.training] == [("a", ("the best", "second best"))]
    assert found.training[0].member.read() == b"image a"
    assert found.holdout == ()


def test_captions_come_by_rank_whatever_their_numbers(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 1, "two", 2, True), ("a", 2, "one", 1, True)])
    assert read_shard(shard, holdout=0).training[0].captions == ("one", "two")


def test_a_kept_caption_that_is_missing_is_an_error(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 1, "one", 1, True), ("a", 2, "two", 2, True)])
    lacking = make_corpus_shard({"a": b"1"}, [("a", 1, "one", 1, True)])
    with pytest.raises(ValueError, match="lacks 1 caption"):
        read_shard(replace(shard, inputs={**shard.inputs, "captions": lacking.all("captions")}), holdout=0)


def test_every_image_is_found_in_its_tar(corpus):
    found = [example for shard in corpus for example in read_shard(shard, holdout=0).training]
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
    one, other = (read_shard(shard, holdout=0.3) for shard in shards)
    for side in range(2):
        assert [example.identity for example in one[side]] == [example.identity for example in other[side]]
        assert len({example.identity for example in one[side]}) == len(one[side])
    assert 8 < len(one.holdout) < 30
    assert count_images(shards, 0.3, 2) == [(len(one.training), len(one.holdout))] * 2


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
    corpus = Corpus(shards, count_images(shards, 0, 1), holdout=0, window=1)
    for part in (*range(12), *range(12)):
        assert corpus.training(part)[0].captions == (f"text {part}",)
    assert len(corpus._known) == 3
    assert corpus.size == (12, 0)


def test_a_source_is_a_line_without_its_empty_shards(make_corpus_shard):
    full = make_corpus_shard({"a": b"1", "b": b"2"}, [("a", 1, "one", 1, True), ("b", 1, "two", 1, True)])
    empty = make_corpus_shard({"a": None}, [])
    shards = [full, empty, replace(full, source="human")]
    corpus = Corpus(shards, count_images(shards, 0, 1), holdout=0, window=4)
    assert [(line.source, line.shards, line.sizes) for line in corpus.lines(seed=0)] == [
        ("web", (0,), (2,)),
        ("human", (2,), (2,)),
    ]
    assert corpus.digest != Corpus(shards[:1], corpus.sizes[:1], holdout=0, window=4).digest


def test_a_tar_that_lacks_an_image_is_named(make_corpus_shard):
    whole = make_corpus_shard({"a": b"1", "b": b"2"}, [("a", 1, "x", 1, True), ("b", 1, "y", 1, True)])
    lacking = make_corpus_shard({"a": b"1"}, [])
    Path(whole.one("images").side("tar")).write_bytes(Path(lacking.one("images").side("tar")).read_bytes())
    with pytest.raises(ValueError, match=r"lacks 1 image.*b\.png first"):
        read_shard(whole, holdout=0)
