"""From committed tables to images and their captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.pretrain.corpus import is_held_out, read_corpus


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
    corpus = read_corpus([shard], holdout=0)
    assert [(example.key, example.captions) for example in corpus.training] == [("a", ("the best", "second best"))]
    assert corpus.training[0].member.read() == b"image a"
    assert corpus.holdout == ()


def test_human_captions_have_no_rank_and_keep_their_order(make_corpus_shard):
    shard = make_corpus_shard({"a": b"1"}, [("a", 2, "two", None, True), ("a", 1, "one", None, True)])
    assert read_corpus([shard], holdout=0).training[0].captions == ("one", "two")


def test_every_image_is_found_in_its_tar(corpus):
    found = read_corpus(corpus, holdout=0).training
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
    corpus = read_corpus(shards, holdout=0.3)
    for side in (corpus.training, corpus.holdout):
        assert len({example.identity for example in side}) == len(side) / 2
    assert 8 < len(corpus.holdout) / 2 < 30


def test_what_is_held_out_follows_from_the_key_alone():
    keys = [f"web-0-{number}" for number in range(4000)]
    some = {key for key in keys if is_held_out(key, 0.1)}
    assert len(some) == pytest.approx(400, abs=60)
    assert some < {key for key in keys if is_held_out(key, 0.2)}
    assert not any(is_held_out(key, 0.0) for key in keys)


def test_a_tar_that_lacks_an_image_is_named(make_corpus_shard):
    whole = make_corpus_shard({"a": b"1", "b": b"2"}, [("a", 1, "x", 1, True), ("b", 1, "y", 1, True)])
    lacking = make_corpus_shard({"a": b"1"}, [])
    Path(whole.images.side("tar")).write_bytes(Path(lacking.images.side("tar")).read_bytes())
    with pytest.raises(ValueError, match=r"lacks 1 image.*b\.png first"):
        read_corpus([whole], holdout=0)
